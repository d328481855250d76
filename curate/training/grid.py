"""A sheet of sample images, made at each validation from the same prompts and seeds."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from curate.samples.pixels import png_bytes
from curate.samples.renderings import eight_bits, montage
from generators.base import Prompt, Trainable
from generators.config import SamplingSettings
from generators.sample import Sample

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
def write_grid(generator: Trainable, prompts: Sequence[Prompt], steps: int, path: Path) -> None:
    """Write one PNG with an image a prompt, row by row; seed 0, 1, ... as they come.

    A volume is shown as its montage. Prompts whose condition images differ in size are made one by
    one.
    """
    shapes = {tuple(image.array.shape for image in p.images.values()) for p in prompts}
    settings = SamplingSettings(
        num_steps=steps, batch_size=min(len(prompts), 16) if len(shapes) == 1 else 1
    )
    tiles: list[Tensor] = []
    for start in range(0, len(prompts), settings.batch_size):
        some = prompts[start : start + settings.batch_size]
        seeds = range(start, start + len(some))
        images = generator.generate(generator.conditioner(some), seeds, settings).nan_to_num()
        kind = generator.output.kind
        tiles += [montage(Sample(image, kind)) for image in images.cpu().numpy()]
    height, width = (max(tile.shape[axis] for tile in tiles) for axis in (1, 2))
    sheet = torch.zeros(3, -(-len(tiles) // COLUMNS) * height, COLUMNS * width)
    for place, tile in enumerate(tiles):
        top, left = place // COLUMNS * height, place % COLUMNS * width
        sheet[:, top : top + tile.shape[1], left : left + tile.shape[2]] = tile
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png_bytes(eight_bits(sheet)))
