"""The processes that train together, as `accelerate launch` starts them; usually only one."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object, reduce
from torch import Tensor

from generators.errors import GeneratorError


class Team:
    """Which slots of a step are ours, and sums over all processes."""

    def __init__(self) -> None:
        """Join the others; the device is this process's own."""
        # without a GPU accelerate joins processes only when told that the CPU is meant
        self._state = PartialState(cpu=not torch.cuda.is_available())
        self.device: torch.device = self._state.device
        self.size: int = self._state.num_processes
        self.rank: int = self._state.process_index
        self.is_main: bool = self._state.is_main_process

    def share(self, count: int) -> range:
        """Return which of `count` things are this process's to do."""
        if count < self.size:
            raise GeneratorError(
                f"A batch of {count} for {self.size} processes: each needs at least one image. "
                "Give a larger --batch-size."
            )
        return range(self.rank, count, self.size)

    def add_gradients(self, weights: Iterable[torch.nn.Parameter]) -> None:
        """Give every process the sum of all their gradients."""
        if self.size > 1:
            for weight in weights:
                if weight.grad is None:  # no loss reaches it, in any process
                    continue
                weight.grad = reduce(weight.grad, reduction="sum")

    def sum(self, value: float) -> float:
        """Return the sum of every process's value."""
        if self.size == 1:
            return value
        total: Tensor = reduce(torch.tensor(value, device=self.device), reduction="sum")
        return total.item()

    def gather(self, values: list[Any]) -> list[Any]:
        """Return the values of all processes, one process after the other."""
        if self.size == 1:
            return values
        gathered: list[Any] = gather_object(values)
        return gathered

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Let the main process do something before all others do it too, and find it done."""
        if not self.is_main:
            self.wait()
        try:
            yield
        finally:
            if self.is_main:
                self.wait()

    def wait(self) -> None:
        """Go on when all have come here."""
        self._state.wait_for_everyone()
