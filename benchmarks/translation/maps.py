"""What the maps cost in CPU-seconds of one thread, and how the estimators agree.

python -m benchmarks.translation.maps

The picture is a made-up head of five tissues and the same one under another look-up table.
"""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from generators.translation.maps import local_mutual_information, self_similarity

BARS = {64: 0.02, 128: 0.1}  # CPU-seconds of a map, patch 3
REPEATS = 5


def pair(side: int) -> tuple[Tensor, Tensor]:
    """Return two contrasts of one structure, float32 [1, 1, side, side] in 0 .. 1."""
    draws = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 1, 8, 8, generator=draws)
    smooth = functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)
    tissues = (smooth * 5).floor() / 5
    noise = 0.02 * torch.randn(2, 1, 1, side, side, generator=draws)
    return (tissues + noise[0]).clamp(0, 1), ((1 - tissues).square() + noise[1]).clamp(0, 1)


def cpu_seconds(call: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the CPU time of a call, the mean of several after a first one."""
    call()
    started = time.process_time()
    for _ in range(repeats):
        call()
    return (time.process_time() - started) / repeats


def main() -> None:
    """Print a table of costs, the agreement of the estimators, and which bars are met."""
    torch.set_num_threads(1)
    print("side patch  Renyi-2  histogram     MIND   CPU-s a map, one thread")
    for side in (64, 128, 256):
        source, target = pair(side)
        for patch in (3, 5):
            local = partial(local_mutual_information, source, target, patch)
            renyi = cpu_seconds(partial(local, estimator="renyi"))
            mind = cpu_seconds(partial(self_similarity, source, patch))
            published, met = "-", ""
            if patch == 3 and side in BARS:  # larger ones take minutes
                published = f"{cpu_seconds(partial(local, estimator='histogram'), 1):.3f}"
                met = f"  bar {BARS[side]}: {'met' if renyi <= BARS[side] else 'NOT met'}"
            print(f"{side:4} {patch:5} {renyi:8.4f}  {published:>9} {mind:8.4f}{met}")
    source, target = pair(128)
    for name, other in (("self", source), ("cross", target)):
        as_published = local_mutual_information(source, other, estimator="histogram").flatten()
        for width in (8.0, 16.0, 32.0):
            ours = local_mutual_information(source, other, width=width).flatten()
            agreed = torch.corrcoef(torch.stack([as_published, ours]))[0, 1].item()
            print(f"{name} map at 128 px: Renyi-2 of width {width:g} correlates {agreed:.3f}")


if __name__ == "__main__":
    main()
