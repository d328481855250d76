"""Images and prompts as a training reads them: latents and embeddings, computed once and kept.

A batch that is encoded has one fixed shape, padded, so that no image's latents depend on the images
beside it: what was computed in one go or in three is the same to the last bit.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curate.errors import CurateError
from curate.progress import ShowProgress
from curate.samples.formats import read_sample
from curate.samples.renderings import rgb
from curate.training.config import LessonConfig
from curate.training.kept_tensors import KeptTensors
from curate.workspace import Workspace
from db import queries
from db.hashing import json_hash
from db.models import GeneratorVersion
from generators.base import Conditions, Prompt, Trainable
from generators.framing import framed
from generators.sample import Kind, Sample

ENCODE_BATCH = 8  # images: one shape, see above
# how parts are named in the keys of what was kept before they had these names
KEYS = {"tokens": "tokens_BLD", "channels": "channels_BCHW", "modulation": "modulation_BD"}


def frozen_parts_hash(ws: Workspace, version: GeneratorVersion) -> str:
    """Return the hash of what turns pixels and prompts into tensors: all but U-Net and schedule.

    Adapters are on the U-Net alone, so that a version shares it with the whole one it stands on.
    """
    while version.weights == "lora":
        version = ws.session.get_one(GeneratorVersion, version.parent_id)
    denoising = ("unet/", "transformer/", "critic/", "scheduler/", "model_index.json")
    files = queries.versions.version_files(ws.session, version.id)
    return json_hash({k: v for k, v in files.items() if not k.startswith(denoising)})


@dataclass(frozen=True)
class Frame:
    """How an image is shown to the codec: all that its latents depend on beside its bytes.

    Pictures are brought to the generator's size. Volumes and HU keep their voxels, whose size in
    millimetres means something: a step cuts its patch out of them.
    """

    codec_id: str
    shape: tuple[int, ...]  # channels and spatial axes of what the codec decodes to
    fit: str
    kind: Kind = "intensity"
    itself: frozenset[str] = frozenset()  # roles of condition images that are the image itself

    @property
    def is_patch(self) -> bool:
        """Say whether images are shown whole, for patches to be cut out."""
        return self.kind != "intensity" or len(self.shape) != 3

    def shown(self, image: Tensor, *, mirrored: bool = False, labels: bool = False) -> Tensor:
        """Return an image [C, *spatial], or one that it is conditioned on, as the frame has it."""
        if not self.is_patch:
            _, height, width = self.shape
            image = framed(image, height, width, self.fit, labels=labels)
        return image.flip(-1) if mirrored else image

    def shown_sample(self, sample: Sample, *, mirrored: bool) -> Sample:
        """Return a condition image as `shown`, intensities in 0 .. 1; HU and classes stay."""
        labels, dtype = sample.kind == "labels", sample.array.dtype
        values = _numbers(sample)
        if self.itself and len(values) > self.shape[0]:  # an image in colour as its own source
            values = values.mean(dim=0, keepdim=True)
        array = self.shown(values, mirrored=mirrored, labels=labels).numpy()
        return Sample(array.astype(dtype) if labels else array, sample.kind)

    def pixels(self, ws: Workspace, file_sha256: str, *, mirrored: bool) -> Tensor:
        """Return a stored image as the codec takes it, but for its range: intensities in 0 .. 1.

        Raises CurateError for one that is not what the generator makes.
        """
        sample = read_sample(ws.store, file_sha256)
        if not self.is_patch and not sample.is_volume:
            image = self.shown(rgb(sample), mirrored=mirrored)
            return image.mean(dim=0, keepdim=True) if self.shape[0] == 1 else image
        found = (sample.kind, len(sample.array), sample.array.ndim)
        if found != (self.kind, self.shape[0], len(self.shape)):
            raise CurateError(
                f"Image {file_sha256[:12]} is {sample.kind} of {list(sample.array.shape)}; this "
                f"generator learns {self.kind} like {list(self.shape)}. Leave it out with "
                "--modality, or train another family."
            )
        return self.shown(_numbers(sample), mirrored=mirrored)

    def key(self, file_sha256: str, *, mirrored: bool = False) -> str:
        """Return the key of an image's latents."""
        where = [self.kind] if self.is_patch else [*self.shape, self.fit]
        return json_hash(["latents", [self.codec_id, *where, mirrored], file_sha256])


def _numbers(sample: Sample) -> Tensor:
    """Return the numbers as float32: intensities in 0 .. 1, HU and classes as they are."""
    dtype = sample.array.dtype
    is_share = sample.kind == "intensity" and dtype != np.float32
    return torch.from_numpy(
        sample.array.astype(np.float32) / (np.iinfo(dtype).max if is_share else 1)
    )


def frame_of(generator: Trainable, config: LessonConfig, codec_id: str) -> Frame:
    """Return how images are shown to this generator."""
    output, itself = generator.output, generator.denoiser.learns_itself
    return Frame(codec_id, output.shape, config.fit, output.kind, itself)


def keep_latents(
    ws: Workspace,
    kept: KeptTensors,
    generator: Trainable,
    frame: Frame,
    images: Mapping[str, tuple[str, bool]],  # by key: the file's SHA-256, and whether mirrored
    show: ShowProgress,
) -> None:
    """Compute the latents that are not kept yet."""
    codec, size = generator.codec, 1 if frame.is_patch else ENCODE_BATCH  # sizes of their own

    def shown(key: str) -> Tensor:
        file_sha256, mirrored = images[key]
        image = frame.pixels(ws, file_sha256, mirrored=mirrored)
        return codec.from_unit(image) if frame.kind == "intensity" else image

    @torch.no_grad()
    def compute(keys: Sequence[str]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for start in range(0, len(keys), size):
            some = keys[start : start + size]
            pixels = [shown(key) for key in some]
            padded = pixels + pixels[-1:] * (size - len(some))
            latents = codec.encode(torch.stack(padded).to(generator.device))
            found.update(zip(some, latents.float().cpu(), strict=False))
        return {key: latents.clone() for key, latents in found.items()}

    kept.fill(list(images), compute, show, "images encoded")


class KeptEmbeddings:
    """Prompts as conditions, encoded once by a conditioner that does not learn."""

    def __init__(self, kept: KeptTensors, generator: Trainable, conditioner_id: str) -> None:
        self._kept, self._generator, self._id = kept, generator, conditioner_id
        self._parts = list(generator.conditioner.unconditional(1).parts)
        self._image_hashes: dict[int, dict[str, str]] = {}  # by role, of a prompt's images

    def fill(self, prompts: Sequence[Prompt], show: ShowProgress) -> None:
        """Encode the prompts that are not kept yet, each in a pass of its own."""
        wanted = {
            self._key(prompt, part): (prompt, part) for prompt in prompts for part in self._parts
        }

        @torch.no_grad()
        def compute(keys: Sequence[str]) -> dict[str, Tensor]:
            found = {}
            for key in keys:
                prompt, part = wanted[key]
                found[key] = self._generator.conditioner([prompt]).parts[part][0].clone()
            return found

        self._kept.fill(list(wanted), compute, show, "texts encoded")

    def __call__(self, prompt: Prompt) -> Conditions:
        """Return a prompt's conditions, one row."""
        return Conditions({part: self._kept[self._key(prompt, part)][None] for part in self._parts})

    def _key(self, prompt: Prompt, part: str) -> str:
        images: dict[str, str] = {}
        if prompt.images:  # examples keep the mapping alive: its id holds, and it is read once
            images = self._image_hashes.setdefault(id(prompt.images), images)
            for role in prompt.images.keys() - images.keys():
                image = prompt.images[role]
                named = [image.kind, image.array.dtype.name, *image.array.shape]
                whole = json.dumps(named).encode() + image.array.tobytes()
                images[role] = hashlib.sha256(whole).hexdigest()
        says = [prompt.modality, prompt.text, prompt.label, dict(prompt.record), images]
        return json_hash(["conditions", self._id, KEYS.get(part, part), says])
