"""A training that `curate status` and `curate runs` see and steer, as they do runs of images."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from curate.errors import Stopped
from curate.production.environment import gpu_memory_gb
from curate.production.run import ended
from curate.production.watch import Watch
from curate.progress import Advance
from curate.workspace import Workspace
from generators.training.config import TrainingConfig
from generators.training.history import History, steps_kept
from generators.training.processes import Processes


class Watcher:
    """One process's eye on the steps; only the first process's tells and hears."""

    def __init__(
        self, watch: Watch | None, advance: Advance, processes: Processes, batch_size: int
    ) -> None:
        """Begin where the checkpoint ends; only the first process has a watch."""
        self._watch, self._advance = watch, advance
        self._device, self._batch_size = processes.device, batch_size
        self._first = 0 if watch is None else watch.state.done
        self.num_steps = 0  # that were taken, by this and earlier calls

    @property
    def num_taken(self) -> int:
        """Return how many steps this call has taken."""
        return max(0, self.num_steps - self._first)

    def report(self, history: History) -> None:
        """Tell how far the training is; what an earlier call did counts at once."""
        self._advance(history.num_steps - self.num_steps)
        self.num_steps = history.num_steps
        if self._watch is not None:
            self._watch.progress(
                self.num_taken,
                0,
                batch_size=self._batch_size,
                device=str(self._device),
                gpu_memory_gb=gpu_memory_gb(self._device),
            )

    def listen(self) -> str:
        """Return what is wanted: "run", "pause" or "stop"."""
        return "run" if self._watch is None else self._watch.heard()


@contextmanager
def watched(
    ws: Workspace,
    key: str,
    training: TrainingConfig,
    folder: Path,
    processes: Processes,
    advance: Advance,
) -> Iterator[Watcher]:
    """Give this process's watcher; at the end, tell how the training ended."""
    if not processes.is_first:
        yield Watcher(None, advance, processes, training.batch_size)
        return
    watch = Watch(
        ws.folder,
        key,
        planned=training.num_steps,
        done=steps_kept(folder),
        what="steps",
        images_each=training.batch_size,
    )
    watcher = Watcher(watch, advance, processes, training.batch_size)
    with ended(watch):
        yield watcher
    is_finished = steps_kept(folder) == training.num_steps
    watch.end("finished" if is_finished else "stopped", made=watcher.num_taken)


def stopped(num_steps: int, planned: int) -> Stopped:
    """Return what tells that a training was stopped on request."""
    return Stopped(
        f"Stopped after {num_steps} of {planned} steps, which are kept. The same command goes on."
    )
