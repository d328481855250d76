"""What is to be made: a plan of items, which of them have no row yet, and the batches they go in.

An item is (version, prompt, seed, settings); its key is unique in the database, and what is done is
what has a row. The same plan again makes nothing; a plan of more makes only what is missing.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, TypeVar

from curate.errors import CurateError
from curate.production.patience import Note, patiently, untold
from curate.workspace import Workspace
from db import queries
from db.hashing import json_hash
from db.models import GeneratorVersion, Prompt, Run
from generators.base import Prompt as PromptValue
from generators.config import SamplingSettings

RUN_PROMPTS = 4096  # a longer sheet becomes several runs: memory does not grow with it
LOOK_PROMPTS = 1000  # asked about at once, which of their items have a row
LOOK_SEEDS = 10_000

Found = TypeVar("Found")


@dataclass(frozen=True)
class Item:
    """One planned image."""

    index: int
    prompt_id: str
    seed: int


@dataclass(frozen=True)
class Batch:
    """Items to make, with their prompts by id."""

    items: Sequence[Item]
    prompts: Mapping[str, PromptValue]


@dataclass(frozen=True)
class Wanted:
    """A prompt, and which images of it are wanted: seeds `first_seed` .. + count - 1."""

    prompt_id: str
    count: int
    first_seed: int = 0


@dataclass(frozen=True)
class Plan:
    """A run as values, which no lost database can take back while it is worked off.

    Item i is prompt i // count with seed first_seed + i % count. Raises CurateError for none.
    """

    version_id: str
    prompt_ids: Sequence[str]  # each once
    count: int  # images a prompt
    first_seed: int
    settings: Mapping[str, Any]  # of SamplingSettings, as JSON

    def __post_init__(self) -> None:
        """Refuse a plan of nothing."""
        if not self.prompt_ids:
            raise CurateError(
                "There is no prompt to generate from. Give --prompts FILE or --prompt TEXT."
            )
        if self.count < 1:
            raise CurateError(f"--count {self.count}: at least 1 image per prompt is needed.")

    @property
    def num_items(self) -> int:
        """Return how many images it is."""
        return len(self.prompt_ids) * self.count

    @cached_property
    def id(self) -> str:
        """Return the id of the run's row: the hash of the plan."""
        return json_hash(self._values())

    @cached_property
    def settings_hash(self) -> str:
        """Return the hash that tells these sampling settings from others."""
        return settings_hash(self.settings)

    def row(self) -> Run:
        """Return the row that keeps it."""
        return Run(id=self.id, num_items=self.num_items, **self._values())

    def _values(self) -> dict[str, Any]:
        return {
            "version_id": self.version_id,
            "prompt_ids": list(self.prompt_ids),
            "count": self.count,
            "first_seed": self.first_seed,
            "settings": dict(self.settings),
        }


def settings_hash(settings: Mapping[str, Any]) -> str:
    """Return the hash that tells one set of sampling settings from another."""
    return json_hash(dict(settings))


def item_key(version_id: str, prompt_id: str, seed: int, settings: Mapping[str, Any]) -> str:
    """Return the key of one image: equal keys are the same image."""
    return json_hash([version_id, prompt_id, seed, dict(settings)])


def plan_run(
    ws: Workspace,
    version: GeneratorVersion,
    prompts: Iterable[Prompt],
    *,
    count: int,
    first_seed: int = 0,
    settings: SamplingSettings,
) -> Plan:
    """Return the plan of `count` images a prompt, seeds `first_seed` and up; its row is added."""
    prompt_ids = tuple(dict.fromkeys(prompt.id for prompt in prompts))
    plan = Plan(version.id, prompt_ids, count, first_seed, settings.to_json())
    queries.runs.get_or_add_run(ws.session, plan.row())
    return plan


def plans_of(
    version_id: str, wanted: Iterable[Wanted], settings: SamplingSettings
) -> Iterator[Plan]:
    """Yield the plans of a sheet of any length: prompts of one count and first seed share one.

    The sheet is read as far as the plans are asked for, 4,096 prompts at a time. No row is added.
    """
    waiting = iter(wanted)
    while part := list(islice(waiting, RUN_PROMPTS)):
        together: dict[tuple[int, int], list[str]] = defaultdict(list)
        for one in part:
            together[one.count, one.first_seed].append(one.prompt_id)
        for (count, first_seed), prompt_ids in together.items():
            unique = tuple(dict.fromkeys(prompt_ids))
            yield Plan(version_id, unique, count, first_seed, settings.to_json())


def missing_items(ws: Workspace, plan: Plan, note: Note = untold) -> Iterator[Item]:
    """Yield the items of the plan that no row has, in plan order.

    What is done is counted on an index for a thousand prompts at once; seeds are looked at only
    where some of a prompt's are missing and others not. Between two looks no transaction is open;
    a lost database is waited for, and `note` is told.
    """
    for start in range(0, len(plan.prompt_ids), LOOK_PROMPTS):
        prompt_ids = plan.prompt_ids[start : start + LOOK_PROMPTS]
        whole = range(plan.first_seed, plan.first_seed + plan.count)
        num_done = _asked(
            ws, plan, note, queries.runs.num_done_by_prompt, whole, prompt_ids=prompt_ids
        )
        for place, prompt_id in enumerate(prompt_ids, start):
            number = num_done.get(prompt_id, 0)
            if number == plan.count:
                continue
            for low in range(0, plan.count, LOOK_SEEDS):
                seeds = whole[low : low + LOOK_SEEDS]
                done = (
                    _asked(ws, plan, note, queries.runs.seeds_done, seeds, prompt_id=prompt_id)
                    if number
                    else ()
                )
                for index, seed in enumerate(seeds, place * plan.count + low):
                    if seed not in done:
                        yield Item(index, prompt_id, seed)


def batches_of(items: Iterator[Item], batch_size: int) -> Iterator[list[Item]]:
    """Yield the items in batches; the last may be smaller."""
    while batch := list(islice(items, batch_size)):
        yield batch


def _asked(
    ws: Workspace,
    plan: Plan,
    note: Note,
    query: Callable[..., Found],
    seeds: range,
    **of: Any,
) -> Found:
    """Return what a query finds done of the plan at these seeds; no transaction stays open."""

    def ask() -> Found:
        found = query(
            ws.session,
            version_id=plan.version_id,
            settings_hash=plan.settings_hash,
            low=seeds.start,
            high=seeds.stop - 1,
            **of,
        )
        ws.session.commit()
        return found

    return patiently(ask, ws.session, note)
