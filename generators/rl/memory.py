"""How an update is cut into passes that memory holds, and what is done when it does not.

The cut decides speed, and the gradient to rounding only.
"""

from dataclasses import dataclass

import torch

from generators.errors import GeneratorError
from generators.rl.config import RLConfig

FASTEST_ON_CPU = 32  # pairs; more spill the caches


@dataclass(frozen=True)
class Fit:
    """How an update is cut into passes."""

    micro_batch: int  # (image, step) pairs a backward pass
    kept_images: int = 0  # whose rollout keeps its graphs, whole compute batches


def first_fit(config: RLConfig) -> Fit:
    """Return what is used until something better was found."""
    return Fit(config.micro_batch or FASTEST_ON_CPU)


def lacks_memory(error: RuntimeError) -> bool:
    """Return whether it says that memory ran out, on a GPU or a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def smaller(fit: Fit) -> Fit:
    """Return the fit to try after a lack of memory; GeneratorError when there is none."""
    if fit.kept_images:
        return Fit(fit.micro_batch)
    if fit.micro_batch == 1:
        raise GeneratorError(
            "Not enough memory to train on a single (image, step) pair. Use a GPU with more, "
            "--training-dtype bfloat16, or adapters instead of full weights."
        )
    return Fit(fit.micro_batch // 2)
