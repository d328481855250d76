"""Several processes on one RL step: who makes which images, and that all hold the same weights.

Each process ("rank") makes whole groups of siblings; rewards are gathered before advantages are
taken, gradients are summed once a step, and the weights' hash is compared after every update.
Shapes: B images of one rank.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from generators.errors import GeneratorError


@dataclass(frozen=True)
class Ranks:
    """This process's place among all; alone, every call returns what it was given."""

    index: int = 0
    count: int = 1
    device: torch.device = torch.device("cpu")  # where the processes exchange tensors

    @property
    def is_first(self) -> bool:
        """Return whether this process writes files and rows."""
        return self.index == 0

    def share(self, total: int) -> range:
        """Return which of `total` things are this process's: equally many for all."""
        if total % self.count:
            raise GeneratorError(
                f"{total} prompts an update cannot be shared equally by {self.count} processes. "
                "Make --prompts-per-update a multiple of the number of processes."
            )
        size = total // self.count
        return range(self.index * size, (self.index + 1) * size)

    def gathered(self, values_B: Tensor) -> Tensor:
        """Return the values of all processes, in their order, on the CPU."""
        if self.count == 1:
            return values_B
        from accelerate.utils import gather

        values: Tensor = gather(values_B.contiguous().to(self.device))
        return values.cpu()

    def summed(self, values: Tensor) -> Tensor:
        """Return the element-wise sum over all processes."""
        if self.count == 1:
            return values
        from accelerate.utils import reduce

        total: Tensor = reduce(values.to(self.device), reduction="sum")
        return total.to(values.device)

    def sum_gradients(self, weights: Iterable[Tensor]) -> None:
        """Replace every gradient by its sum over all processes, in one exchange."""
        if self.count == 1:
            return
        weights = list(weights)
        gradients = [
            torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights
        ]
        total = self.summed(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = total.split([weight.numel() for weight in weights])
        for weight, part in zip(weights, parts, strict=True):
            weight.grad = part.view_as(weight)

    def refuse_differences(self, weights: Mapping[str, Tensor]) -> None:
        """Raise GeneratorError unless all processes hold these weights, to the bit."""
        if self.count == 1:
            return
        digests = self.told(_digest(weights))
        if len(set(digests)) > 1:
            raise GeneratorError(
                f"The weights of {self.count} processes differ ({', '.join(d[:8] for d in digests)}"
                "). They would train apart; the last checkpoint is whole. Use equal hardware and "
                "library versions for all."
            )

    def told(self, value: Any) -> list[Any]:
        """Return what each process says; all must call."""
        if self.count == 1:
            return [value]
        from accelerate.utils import gather_object

        values: list[Any] = gather_object([value])
        return values


def joined_ranks() -> Ranks:
    """Return this process's place among those that `accelerate launch` or torchrun started."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Ranks(device=best_device())
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    return Ranks(state.process_index, state.num_processes, state.device)


def best_device() -> torch.device:
    """Return the first GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _digest(weights: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
