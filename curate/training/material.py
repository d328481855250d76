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
from curate.training.framing import framed
from curate.training.kept_tensors import KeptTensors
from curate.workspace import Workspace
from db import queries
from db.hashing import json_hash
from db.models import GeneratorVersion
from generators.base import Conditions, Prompt, Trajectory
from generators.sample import Sample

ENCODE_BATCH = 8  # images: one shape, see above
# how parts are named in the keys of what was kept before they had these names
KEYS = {"tokens": "tokens_BLD", "channels": "channels_BCHW", "modulation": "modulation_BD"}


def frozen_parts_hash(ws: Workspace, version: GeneratorVersion) -> str:
    """Return the hash of what turns pixels and prompts into tensors: all but U-Net and schedule.

    Adapters are on the U-Net alone, so that a version shares it with the whole one it stands on.
    """
    while version.weights == "lora":
        version = ws.session.get_one(GeneratorVersion, version.parent_id)
    denoising = ("unet/", "transformer/", "scheduler/", "model_index.json")
    files = queries.versions.version_files(ws.session, version.id)
    return json_hash({k: v for k, v in files.items() if not k.startswith(denoising)})


@dataclass(frozen=True)
class Frame:
    """How an image is shown to the codec: all that its latents depend on beside its bytes."""

    codec_id: str
    shape: tuple[int, int, int]  # channels, height, width of what the codec decodes to
    fit: str

    def shown(self, image_CHW: Tensor, *, mirrored: bool = False, labels: bool = False) -> Tensor:
        """Return an image, or an image that it is conditioned on, at the frame's height x width."""
        _, height, width = self.shape
        image = framed(image_CHW, height, width, self.fit, labels=labels)
        return image.flip(-1) if mirrored else image

    def shown_sample(self, sample: Sample, *, mirrored: bool) -> Sample:
        """Return a condition image as `shown`, intensities in 0 .. 1; HU and classes stay."""
        labels, dtype = sample.kind == "labels", sample.array.dtype
        is_share = sample.kind == "intensity" and dtype != np.float32
        top = np.iinfo(dtype).max if is_share else 1
        values = torch.from_numpy(sample.array.astype(np.float32) / top)
        array = self.shown(values, mirrored=mirrored, labels=labels).numpy()
        return Sample(array.astype(dtype) if labels else array, sample.kind)

    def key(self, file_sha256: str, *, mirrored: bool = False) -> str:
        """Return the key of an image's latents."""
        how = [self.codec_id, *self.shape, self.fit, mirrored]
        return json_hash(["latents", how, file_sha256])


def frame_of(generator: Trajectory, config: LessonConfig, codec_id: str) -> Frame:
    """Return how images are shown to this generator. Raises CurateError for one of no pixels."""
    if generator.codec.unit != "intensity":
        raise CurateError(
            f"This generator makes {generator.codec.unit}, but imported images are intensities. "
            "Fine-tune one that makes intensities: `curate generators list`."
        )
    shape = generator.output.shape
    if len(shape) != 3:
        raise CurateError(f"This generator makes volumes ({list(shape)}); curate trains on slices.")
    return Frame(codec_id, (shape[0], shape[1], shape[2]), config.fit)


def keep_latents(
    ws: Workspace,
    kept: KeptTensors,
    generator: Trajectory,
    frame: Frame,
    images: Mapping[str, tuple[str, bool]],  # by key: the file's SHA-256, and whether mirrored
    show: ShowProgress,
) -> None:
    """Compute the latents that are not kept yet."""

    def shown(key: str) -> Tensor:
        file_sha256, mirrored = images[key]
        image = frame.shown(rgb(read_sample(ws.store, file_sha256)), mirrored=mirrored)
        image = image.mean(dim=0, keepdim=True) if frame.shape[0] == 1 else image
        return generator.codec.from_unit(image)

    @torch.no_grad()
    def compute(keys: Sequence[str]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for start in range(0, len(keys), ENCODE_BATCH):
            some = keys[start : start + ENCODE_BATCH]
            pixels = [shown(key) for key in some]
            padded = pixels + pixels[-1:] * (ENCODE_BATCH - len(some))
            latents = generator.codec.encode(torch.stack(padded).to(generator.device))
            found.update(zip(some, latents.float().cpu(), strict=False))
        return {key: latents.clone() for key, latents in found.items()}

    kept.fill(list(images), compute, show, "images encoded")


class KeptEmbeddings:
    """Prompts as conditions, encoded once by a conditioner that does not learn."""

    def __init__(self, kept: KeptTensors, generator: Trajectory, conditioner_id: str) -> None:
        self._kept, self._generator, self._id = kept, generator, conditioner_id
        self._parts = list(generator.conditioner.unconditional(1).parts)
        self._image_hashes: dict[int, str] = {}

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
        images = {role: self._image_hash(image) for role, image in prompt.images.items()}
        says = [prompt.modality, prompt.text, prompt.label, dict(prompt.record), images]
        return json_hash(["conditions", self._id, KEYS.get(part, part), says])

    def _image_hash(self, image: Sample) -> str:
        if id(image) not in self._image_hashes:  # examples keep their samples alive: ids hold
            says = [image.kind, image.array.dtype.name, *image.array.shape]
            whole = json.dumps(says).encode() + image.array.tobytes()
            self._image_hashes[id(image)] = hashlib.sha256(whole).hexdigest()
        return self._image_hashes[id(image)]
