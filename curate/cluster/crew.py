"""Ray actors that come and go: batches are handed out, and handed out again when one dies."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from curate.cluster.worker import Answer, Weights, Worker
from curate.errors import CurateError
from curate.production.items import Item
from generators.base import Prompt

BATCHES_A_WORKER = 2  # one is made, the next is there already
SECONDS_BETWEEN_HIRES = 5.0  # a node that joined, or came back, gets workers this soon
WAIT_S = 0.5
NO_WORKER_PATIENCE_S = 600.0  # for how long a cluster without any worker is waited for
MAX_STILLBORN = 3  # workers in a row that died before they were ready: something is wrong

Batch = tuple[Sequence[Item], Mapping[str, Prompt]]
Note = Callable[..., None]


@dataclass(eq=False)
class _Member:
    """An actor, whether it has opened its generator, and what it was given."""

    actor: Any
    is_ready: bool = False
    given: dict[Any, Batch] = field(default_factory=dict)  # by the reference of the answer


class Crew:
    """All workers of a cluster: one a GPU, or one a CPU where there is no GPU."""

    def __init__(self, weights: Weights, settings: dict[str, Any], note: Note) -> None:
        """Hire nobody yet; the weights are put where every node can fetch them once."""
        self._weights, self._settings, self._note = ray.put(weights), settings, note
        self._members: list[_Member] = []
        self._births: dict[Any, _Member] = {}  # by the reference that resolves when ready
        self._again: deque[Batch] = deque()  # batches whose worker died
        self._last_hire = float("-inf")
        self._stillborn = 0
        self._alone_since = time.monotonic()

    @property
    def num_ready(self) -> int:
        """Return how many workers have their generator open."""
        return sum(member.is_ready for member in self._members)

    def work(self, batches: Iterator[Batch], may_go_on: Callable[[], bool]) -> Iterator[Answer]:
        """Yield each batch's answer, in any order; stop handing out when `may_go_on` says so."""
        is_over = False
        while True:
            is_over = is_over or not may_go_on()
            self._hire()
            is_over = self._hand_out(batches, is_over)
            if is_over and not self._again and not self._given():
                return
            yield from self._answers()

    def dismiss(self) -> None:
        """End all workers."""
        for member in self._members:
            ray.kill(member.actor)

    def _hire(self) -> None:
        now = time.monotonic()
        if now - self._last_hire < SECONDS_BETWEEN_HIRES:
            return
        self._last_hire = now
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        kind = "GPU" if resources.get("GPU") else "CPU"
        needs = {"num_gpus": 1, "num_cpus": 1} if kind == "GPU" else {"num_cpus": 1}
        for _ in range(int(resources.get(kind, 0)) - len(self._members)):
            actor: Any = ray.remote(Worker).options(**needs).remote(self._weights, self._settings)
            member = _Member(actor)
            self._members.append(member)
            self._births[actor.ready.remote()] = member
        self._check_patience(now)

    def _check_patience(self, now: float) -> None:
        if self.num_ready:
            self._alone_since = now
        elif now - self._alone_since > NO_WORKER_PATIENCE_S:
            raise CurateError(
                f"No worker of the Ray cluster was ready for {NO_WORKER_PATIENCE_S:.0f} s. See "
                "`ray status`: it needs nodes with free CPUs or GPUs, and curate installed there."
            )

    def _hand_out(self, batches: Iterator[Batch], is_over: bool) -> bool:
        """Give every worker enough to do; return whether the plan is at its end."""
        for member in self._members:
            while member.is_ready and len(member.given) < BATCHES_A_WORKER:
                batch = self._again.popleft() if self._again else None
                if batch is None and not is_over:
                    batch = next(batches, None)
                    is_over = batch is None
                if batch is None:
                    break
                member.given[member.actor.make.remote(*batch)] = batch
        return is_over

    def _given(self) -> list[Any]:
        return [answer for member in self._members for answer in member.given]

    def _answers(self) -> Iterator[Answer]:
        waiting = [*self._births, *self._given()]
        if not waiting:
            time.sleep(WAIT_S)
            return
        done, _ = ray.wait(waiting, num_returns=1, timeout=WAIT_S, fetch_local=True)
        for reference in done:
            member = self._births.get(reference) or self._owner(reference)
            if member is None:  # it died meanwhile, its batches wait again
                continue
            try:
                answer = ray.get(reference)
            except RayTaskError as error:
                raise error.cause if isinstance(error.cause, Exception) else error from error
            except RayActorError as error:
                self._lose(member, error)
                continue
            if self._births.pop(reference, None) is not None:
                member.is_ready, self._stillborn = True, 0
            else:
                del member.given[reference]
                yield answer

    def _owner(self, reference: Any) -> _Member | None:
        return next((member for member in self._members if reference in member.given), None)

    def _lose(self, member: _Member, error: RayActorError) -> None:
        """Forget a dead worker; its batches are handed out again, and another one is hired."""
        self._members.remove(member)
        self._births = {key: value for key, value in self._births.items() if value is not member}
        self._again.extend(member.given.values())
        self._last_hire = float("-inf")
        reason = str(error).strip().splitlines()[0]
        self._note("worker-lost", batches_again=len(member.given), reason=reason)
        if not member.is_ready:
            self._stillborn += 1
            if self._stillborn >= MAX_STILLBORN and not self.num_ready:
                raise CurateError(
                    f"{self._stillborn} workers died before they were ready. The last: "
                    f"{' '.join(str(error).split())[-500:]}"
                ) from error
