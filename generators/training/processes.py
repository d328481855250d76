"""Several processes that train together, as `accelerate launch` or torchrun starts them.

Which part of a step is whose, sums over all, and that all hold the same weights. Usually there is
one process, and every call returns what it was given. Shapes: B values of one process.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather, gather_object, reduce
from torch import Tensor

from generators.errors import GeneratorError

PAUSE_S = 0.5  # between two questions whether a pause is over
Listen = Callable[[], str]  # what is wanted now: run, pause or stop


@dataclass(frozen=True)
class Processes:
    """This process's place among all."""

    index: int = 0
    count: int = 1
    device: torch.device = torch.device("cpu")  # this process's own

    @property
    def is_first(self) -> bool:
        """Return whether this process writes files and rows."""
        return self.index == 0

    def in_turn(self, total: int) -> range:
        """Return which of `total` images are this process's: every so many-th."""
        if total < self.count:
            raise GeneratorError(
                f"A batch of {total} for {self.count} processes: each needs at least one image. "
                "Give a larger --batch-size."
            )
        return range(self.index, total, self.count)

    def in_blocks(self, total: int) -> range:
        """Return which of `total` prompts are this process's: neighbours, equally many for all."""
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
        values: Tensor = gather(values_B.contiguous().to(self.device))
        return values.cpu()

    def summed(self, values: Tensor) -> Tensor:
        """Return the element-wise sum over all processes."""
        if self.count == 1:
            return values
        total: Tensor = reduce(values.to(self.device), reduction="sum")
        return total.to(values.device)

    def told(self, value: Any) -> list[Any]:
        """Return what each process says; all must call."""
        if self.count == 1:
            return [value]
        values: list[Any] = gather_object([value])
        return values

    def sum_gradients(self, weights: Mapping[str, torch.nn.Parameter]) -> None:
        """Replace every gradient by its sum over all processes, in one exchange.

        A weight that no loss reaches in any process keeps no gradient, as it would alone.
        """
        if self.count == 1:
            return
        mine = [name for name, weight in weights.items() if weight.grad is not None]
        reached = {name for names in self.told(mine) for name in names}
        several = [weight for name, weight in weights.items() if name in reached]
        gradients = [
            torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in several
        ]
        total = self.summed(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = total.split([weight.numel() for weight in several])
        for weight, part in zip(several, parts, strict=True):
            weight.grad = part.view_as(weight)

    def refuse_differences(self, weights: Mapping[str, Tensor]) -> None:
        """Raise GeneratorError unless all processes hold these weights, to the bit."""
        if self.count == 1:
            return
        digest = hashlib.sha256()
        for name in sorted(weights):
            digest.update(name.encode())
            own = weights[name].detach().cpu().contiguous()
            digest.update(own.view(torch.uint8).numpy().tobytes())
        digests = self.told(digest.hexdigest())
        if len(set(digests)) > 1:
            raise GeneratorError(
                f"The weights of {self.count} processes differ ({', '.join(d[:8] for d in digests)}"
                "). They would train apart; the last checkpoint is whole. Use equal hardware and "
                "library versions for all."
            )

    def may_go_on(self, listen: Listen) -> bool:
        """Return whether to go on, every process alike; wait here during a pause.

        The first process alone listens. The others hear of it twice a second, so that no wait of
        theirs for each other runs out of time.
        """
        while (wanted := str(self.told(listen() if self.is_first else "")[0])) == "pause":
            time.sleep(PAUSE_S)
        return wanted != "stop"

    @contextmanager
    def first_goes_ahead(self) -> Iterator[None]:
        """Let the first process do something before all others do it too, and find it done."""
        if not self.is_first:
            self.wait()
        try:
            yield
        finally:
            if self.is_first:
                self.wait()

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.count > 1:
            PartialState().wait_for_everyone()


ALONE = Processes()


def joined_processes() -> Processes:
    """Return this process's place among those that were started together; its device too."""
    on_gpu = torch.cuda.is_available()
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(device=torch.device("cuda" if on_gpu else "cpu"))
    # without a GPU accelerate joins processes only when told that the CPU is meant
    state = PartialState(cpu=not on_gpu)
    return Processes(state.process_index, state.num_processes, state.device)
