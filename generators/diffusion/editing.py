"""A picture that is edited: what of it stays, and the baselines that begin from it.

Tensor names carry shapes: B images, C channels, H x W pixels; latents have a batch's shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from generators.base import Conditions, Output, Process, Prompt, Trajectory
from generators.errors import GeneratorError
from generators.framing import framed, picture_in
from generators.sample import Sample

KEEP = "keep"  # a prompt's mask: white may change, outside it the picture stays
EDITED = ("prior", "source")  # the picture that a mask belongs to is the first that there is


def begun_from_prior(prompt: Prompt, output: Output) -> Prompt:
    """Return a prompt whose prior is the source to begin from, and is not shown to the network."""
    if "prior" not in prompt.images:
        raise GeneratorError(
            f"The prompt {prompt.text!r} has no prior, and --method sdedit and inversion begin "
            "from one. Give --prior FILE, or the sheet's column `prior`."
        )
    framed_images = {"source": picture_in(prompt.images["prior"], output.shape, "prior").numpy()}
    if KEEP in prompt.images:
        framed_images[KEEP] = _may_change(prompt, "prior", output).numpy()
    images = {role: image for role, image in prompt.images.items() if role not in (KEEP, "prior")}
    images |= {role: Sample(np.ascontiguousarray(one)) for role, one in framed_images.items()}
    return replace(prompt, images=images)


def kept_parts(prompts: Sequence[Prompt], output: Output) -> Tensor | None:
    """Return `kept` [B, C + 1, H, W] of conditions; None where no prompt has a mask.

    A prompt without one beside others that have one may change everywhere.
    """
    if not any(KEEP in prompt.images for prompt in prompts):
        return None
    rows = []
    for prompt in prompts:
        if KEEP not in prompt.images:
            rows.append(torch.cat([torch.zeros(output.shape), torch.ones(1, *output.shape[1:])]))
            continue
        role = next((role for role in EDITED if role in prompt.images), None)
        if role is None or output.kind != "intensity" or output.spatial_dims != 2:
            raise GeneratorError(
                f"The prompt {prompt.text!r} has a mask of what may change, and no prior or source "
                "picture that stays outside it."
            )
        picture = picture_in(prompt.images[role], output.shape, role)
        rows.append(torch.cat([picture, _may_change(prompt, role, output)]))
    return torch.stack(rows)


def _may_change(prompt: Prompt, role: str, output: Output) -> Tensor:
    """Return a prompt's mask [1, H, W], framed as its picture is: 1 where that may change."""
    mask, picture = prompt.images[KEEP], prompt.images[role]
    if mask.spatial_shape != picture.spatial_shape:
        raise GeneratorError(
            f"A mask is {list(mask.spatial_shape)} pixels and its {role} "
            f"{list(picture.spatial_shape)}: draw it on the {role}, white where it may change."
        )
    top = 1 if mask.array.dtype == np.float32 else np.iinfo(mask.array.dtype).max
    white = torch.from_numpy(mask.array[:1] > top / 2).float()
    return framed(white, output.shape[1], output.shape[2], "crop", labels=True)


def composed(images_BCHW: Tensor, kept: Tensor) -> Tensor:
    """Return images in 0 .. 1 with the pictures that stay where the mask is 0, to the last bit."""
    kept = kept.to(images_BCHW)
    return torch.where(kept[:, -1:] > 0, images_BCHW, kept[:, :-1])


@dataclass(frozen=True)
class KeptLatents:
    """Latents that stay, and where: so that what changes is made to fit what is around it.

    Put back at each step, as in blended latent diffusion (Avrahami et al. 2023).
    """

    clean: Tensor  # float32 [B, C, H, W] of the pictures that stay
    may_change: Tensor  # bool [B, 1, H, W] of latents: some pixel below may
    process: Process

    @classmethod
    def of(cls, generator: Trajectory, conditions: Conditions) -> "KeptLatents | None":
        """Return what these conditions keep, if anything."""
        if "kept" not in conditions.parts:
            return None
        kept = conditions.parts["kept"]
        clean = generator.codec.encode(generator.codec.from_unit(kept[:, :-1])).float()
        may_change = functional.adaptive_max_pool2d(kept[:, -1:], tuple(clean.shape[2:])) > 0
        return cls(clean, may_change, generator.process)

    def blended(self, x_t: Tensor, noise: Tensor, t_B: Tensor) -> Tensor:
        """Return latents [B, C, H, W] at noise levels t_B with those that stay, as noisy, put back.

        A batch is at one level; at the process's end what stays is clean.
        """
        is_end = float(t_B[0]) == self.process.end
        stays = self.clean if is_end else self.process.noised(self.clean, noise, t_B)
        return torch.where(self.may_change, x_t, stays)
