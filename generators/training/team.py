"""The processes that train together, as `accelerate launch` starts them; usually only one."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object, reduce
from torch import Tensor

from generators.errors import GeneratorError

WISHES = ("run", "pause", "stop")
PAUSE_S = 0.5  # between two questions whether a pause is over
Listen = Callable[[], str]  # what is wanted now, one of WISHES


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

    def may_go_on(self, listen: Listen) -> bool:
        """Return whether to go on, every process alike; wait here during a pause.

        The main process alone listens. The others hear of it twice a second, so that no wait of
        theirs for each other runs out of time.
        """
        while (wanted := self._wish(listen)) == "pause":
            time.sleep(PAUSE_S)
        return wanted != "stop"

    def _wish(self, listen: Listen) -> str:
        return WISHES[int(self.sum(float(WISHES.index(listen())) if self.is_main else 0.0))]

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
