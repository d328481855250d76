"""A sheet of sample images, made at each validation from the same prompts and seeds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from curate.samples.pixels import png_bytes, to_uint8
from generators.base import Prompt, Trajectory
from generators.config import SamplingSettings
from generators.diffusion.samplers import decode, sample

COLUMNS = 4


def prompts_to_show(prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """Return `count` prompts, one of each modality and label in turn, for as long as there are."""
    groups: dict[tuple[str, str | None], list[Prompt]] = {}
    for prompt in prompts:
        members = groups.setdefault((prompt.modality, prompt.label), [])
        if prompt.text not in [member.text for member in members]:
            members.append(prompt)
    chosen: list[Prompt] = []
    for turn in range(max(map(len, groups.values()), default=0)):
        chosen += [members[turn] for members in groups.values() if turn < len(members)]
    return chosen[:count]


@torch.no_grad()
def write_grid(generator: Trajectory, prompts: Sequence[Prompt], steps: int, path: Path) -> None:
    """Write one PNG with an image a prompt, row by row; seed 0, 1, ... as they come."""
    settings = SamplingSettings(num_steps=steps, batch_size=min(len(prompts), 16))
    conditions = generator.conditioner(prompts)
    latents = sample(generator, conditions, range(len(prompts)), settings)
    images = generator.codec.to_unit(decode(generator, latents, settings.batch_size))
    tiles = to_uint8(images.nan_to_num())
    blank = np.zeros_like(tiles[0])
    tiles += [blank] * (-len(tiles) % COLUMNS)
    rows = [np.concatenate(tiles[i : i + COLUMNS], axis=1) for i in range(0, len(tiles), COLUMNS)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png_bytes(np.concatenate(rows)))
