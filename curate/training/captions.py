"""Texts for images that have none: a captioner looks at each once, and what it said is kept."""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from curate.errors import CurateError
from curate.progress import ShowProgress
from curate.samples.formats import read_sample
from curate.samples.renderings import montage
from curate.training.kept_tensors import KeptTensors
from curate.workspace import Workspace
from db.hashing import json_hash
from db.queries.images import ImageToLearn
from generators.captioner import Captioner


def captioned(
    ws: Workspace,
    kept: KeptTensors,
    captioner: Captioner,
    images: Sequence[ImageToLearn],
    show: ShowProgress,
) -> list[ImageToLearn]:
    """Return the images with the captioner's texts. Raises CurateError where it says nothing."""
    keys = {
        image.file_sha256: json_hash(["caption", captioner.id, image.file_sha256])
        for image in images
    }
    files = {key: sha256 for sha256, key in keys.items()}

    def compute(some: Sequence[str]) -> dict[str, Tensor]:
        pictures = [montage(read_sample(ws.store, files[key])) for key in some]
        texts = [captioner(picture) for picture in pictures]
        # their bytes, after a 0: no tensor is empty
        bytes_of = [torch.tensor([0, *text.strip().encode()], dtype=torch.uint8) for text in texts]
        return dict(zip(some, bytes_of, strict=True))

    kept.fill(list(files), compute, show, "images captioned")
    texts = {sha256: bytes(kept[key][1:].tolist()).decode() for sha256, key in keys.items()}
    silent = [sha256 for sha256, text in texts.items() if not text]
    if silent:
        raise CurateError(
            f"The captioner {captioner.name} says nothing about {len(silent)} of {len(texts)} "
            "images. Take another one: an image without a text teaches no text."
        )
    return [dataclasses.replace(image, text=texts[image.file_sha256]) for image in images]
