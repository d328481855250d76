"""Ray actors that come and go: tasks are handed out, and handed out again when one dies."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from curate.cluster.versions import refuse_others
from curate.errors import CurateError

TASKS_A_WORKER = 2  # one is worked on, the next is there already
SECONDS_BETWEEN_HIRES = 5.0  # a node that joined, or came back, gets workers this soon
WAIT_S = 0.5
NO_WORKER_PATIENCE_S = 600.0  # for how long a cluster without any worker is waited for
MAX_STILLBORN = 3  # workers in a row that died before they were ready: something is wrong
MAX_DEATHS = 4  # workers that died over one task: it is the task
TOLD = 500  # last characters of what Ray says of a death

Task = TypeVar("Task")
Answer = TypeVar("Answer")
TaskIn = TypeVar("TaskIn", contravariant=True)
AnswerOut = TypeVar("AnswerOut", covariant=True)
Note = Callable[..., None]


class Worker(Protocol[TaskIn, AnswerOut]):
    """What runs in a process of the cluster; its constructor opens what it needs."""

    def versions(self) -> Mapping[str, str]:
        """Return what decides its answers' bytes; the first thing asked, once it is open."""
        ...

    def work(self, task: TaskIn) -> AnswerOut:
        """Return the task's answer; the same one whoever works on it, and however often."""
        ...


@dataclass(eq=False)
class _Assignment(Generic[Task]):
    """A task, and how many workers died over it."""

    task: Task
    deaths: int = 0


@dataclass(eq=False)
class _Member(Generic[Task]):
    """An actor, whether it is open, and what it was given, in the order of its work."""

    actor: Any
    is_ready: bool = False
    given: dict[Any, _Assignment[Task]] = field(default_factory=dict)  # by the answer's reference


class Crew(Generic[Task, Answer]):
    """All workers of a cluster: one a GPU, or one a CPU where there is no GPU."""

    def __init__(self, kind: type[Worker[Task, Answer]], equipment: Any, note: Note) -> None:
        """Hire nobody yet; `kind(equipment)` makes a worker.

        The equipment (weights) is put where every node fetches it once. `note(event, **details)`
        is told of workers that were lost.
        """
        self._kind, self._equipment, self._note = kind, ray.put(equipment), note
        self._members: list[_Member[Task]] = []
        self._births: dict[Any, _Member[Task]] = {}  # by the reference that resolves when ready
        self._again: deque[_Assignment[Task]] = deque()  # whose worker died, and the next one
        self._is_over = False  # no more tasks are taken
        self._last_hire = float("-inf")
        self._stillborn = 0
        self._alone_since = time.monotonic()

    @property
    def num_ready(self) -> int:
        """Return how many workers are open."""
        return sum(member.is_ready for member in self._members)

    def work(
        self, tasks: Iterator[Task], may_go_on: Callable[[], bool] = lambda: True
    ) -> Iterator[Answer]:
        """Yield each task's answer, in any order; stop handing out when `may_go_on` says so.

        Tasks are taken from the iterator as workers are free for them: memory stays flat.
        """
        self._is_over = False
        while True:
            self._is_over = self._is_over or not may_go_on()
            if time.monotonic() - self._last_hire >= SECONDS_BETWEEN_HIRES:
                self._hire()
            self._hand_out(tasks)
            if self._is_over and not self._again and not self._given():
                return
            yield from self._answers()

    def dismiss(self) -> None:
        """End all workers."""
        for member in self._members:
            ray.kill(member.actor)

    def _hire(self) -> None:
        """Hire a worker for every place that has none; wait only so long for the first of all."""
        self._last_hire = now = time.monotonic()
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        place = "GPU" if resources.get("GPU") else "CPU"
        needs = {"num_gpus": 1, "num_cpus": 1} if place == "GPU" else {"num_cpus": 1}
        for _ in range(int(resources.get(place, 0)) - len(self._members)):
            actor: Any = ray.remote(self._kind).options(**needs).remote(self._equipment)
            member: _Member[Task] = _Member(actor)
            self._members.append(member)
            self._births[actor.versions.remote()] = member
        if self.num_ready:
            self._alone_since = now
        elif now - self._alone_since > NO_WORKER_PATIENCE_S:
            raise CurateError(
                f"No worker of the Ray cluster was ready for {NO_WORKER_PATIENCE_S:.0f} s. See "
                "`ray status`: it needs nodes with free CPUs or GPUs, and curate installed there."
            )

    def _hand_out(self, tasks: Iterator[Task]) -> None:
        """Give every worker enough to do, as long as there is something."""
        for member in self._members:
            while member.is_ready and len(member.given) < TASKS_A_WORKER:
                if not self._again and not self._is_over:
                    self._again.extend(_Assignment(task) for task in islice(tasks, 1))
                    self._is_over = not self._again
                if not self._again:
                    return
                assignment = self._again.popleft()
                member.given[member.actor.work.remote(assignment.task)] = assignment

    def _given(self) -> list[Any]:
        return [answer for member in self._members for answer in member.given]

    def _answers(self) -> Iterator[Answer]:
        waiting = [*self._births, *self._given()]
        if not waiting:
            time.sleep(WAIT_S)
            return
        done, _ = ray.wait(waiting, num_returns=1, timeout=WAIT_S, fetch_local=True)
        for reference in done:
            member = self._births.get(reference) or next(
                (each for each in self._members if reference in each.given), None
            )
            if member is None:  # it died meanwhile, its tasks wait again
                continue
            try:
                answer = ray.get(reference)
            except RayTaskError as error:  # the task itself failed
                raise error.cause if isinstance(error.cause, Exception) else error from error
            except RayError as error:  # its process, its node, or what these had kept is gone
                self._lose(member, error)
                continue
            if self._births.pop(reference, None) is not None:
                refuse_others(answer)
                member.is_ready, self._stillborn = True, 0
            else:
                del member.given[reference]
                yield answer

    def _lose(self, member: _Member[Task], error: RayError) -> None:
        """Forget a dead worker; its tasks are handed out again, and another one is hired.

        Raises CurateError when worker after worker dies over the same task, or before it is ready.
        """
        self._members.remove(member)
        self._births = {key: value for key, value in self._births.items() if value is not member}
        ray.kill(member.actor)  # where only an answer was lost, its process still lives
        self._again.extend(member.given.values())
        self._last_hire = float("-inf")
        first_line = str(error).strip().splitlines()[0]
        self._note("worker-lost", batches_again=len(member.given), reason=first_line)
        reason = " ".join(str(error).split())[-TOLD:]
        for assignment in list(member.given.values())[:1]:  # the others had not begun
            assignment.deaths += 1
            if assignment.deaths >= MAX_DEATHS:
                raise CurateError(
                    f"{MAX_DEATHS} workers died on the same batch. If they ran out of memory, use "
                    f"a smaller --batch-size. Last error: {reason}"
                ) from error
        self._stillborn += not member.is_ready
        if not member.is_ready and self._stillborn >= MAX_STILLBORN and not self.num_ready:
            raise CurateError(
                f"{self._stillborn} workers died before they were ready. Is the same curate "
                f"installed on every node, and is there memory for the model? The last: {reason}"
            ) from error
