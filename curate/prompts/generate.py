"""From a sheet or texts to runs, and what became of them."""

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.importing.conditions import Condition, ConditionImages
from curate.importing.errors import Refused
from curate.importing.records import read_records
from curate.importing.table import Remark
from curate.production.config import GenerateOptions
from curate.production.plan import Plan, plans_of
from curate.production.run import Generated, run_plan
from curate.production.versions import chosen_version, id_of_choice
from curate.progress import Advance, progress
from curate.prompts.asked import check_asked
from curate.prompts.plan import balanced_lines, planned, shipped_prompts
from curate.prompts.sheet import Beside, PromptLine, prompts_from_options, stream_prompts
from curate.workspace import Workspace
from db import queries
from db.models import GeneratorVersion

MakeRun = Callable[[Workspace, Plan, Advance], Generated]


@dataclass(frozen=True)
class Made:
    """What a call planned and did; a long sheet, or one with several counts, has several runs."""

    version_id: str
    runs: list[Generated]
    refused: list[str]
    notes: list[str]
    dry_run: bool

    @property
    def is_whole(self) -> bool:
        """Say whether all that was planned is there now."""
        return not any(run.broken or run.stopped for run in self.runs)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return a line for each run, after the sheet's remarks."""
        done = "would be made" if self.dry_run else "made"
        runs = []
        for run in self.runs:
            broken = f"; {run.broken} left out: NaN or infinite pixels" if run.broken else ""
            if run.clipped is not None and run.most_clipped is not None:
                broken += (
                    f"; {run.clipped:.1%} of voxels at the ends of the generator's HU "
                    f"({run.most_clipped:.1%} at most in a volume)"
                )
            runs.append(
                f"{run.made} images {done}, {run.already} there already, {run.planned} planned "
                f"(run {run.run_id[:12]}, generator version {self.version_id[:12]}){broken}"
                + ("; stopped: the same command goes on" if run.stopped else "")
            )
        return [*self.notes, *(f"refused: {line}" for line in self.refused), *runs]


@dataclass(frozen=True)
class _Remarks:
    refused: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)


def generate_images(ws: Workspace, options: GenerateOptions, make: MakeRun = run_plan) -> Made:
    """Make what is missing of the plan, showing progress; the sheet is read as it is worked off.

    `make` makes a run's images: here, or on a cluster.
    """
    check_asked(options)
    options = options.with_noise(own=ws.settings.own_noise)
    remarks = _Remarks()
    lines = _prompt_lines(ws, options, remarks)
    choice = options.generator
    version_id = id_of_choice(ws, choice) if options.dry_run else chosen_version(ws, choice).id
    asked: set[str] = set()
    wanted = planned(
        ws,
        _noting_modalities(lines, asked),
        count=options.count,
        first_seed=options.first_seed,
        keep=not options.dry_run,
    )
    done = []
    with _terminated_like_interrupted():
        for plan in plans_of(version_id, wanted, options.settings):
            done.append(_run(ws, plan, options, make))
            if done[-1].stopped:
                break
    return Made(
        version_id=version_id,
        runs=done,
        refused=[str(remark) for remark in sorted(remarks.refused, key=lambda r: r.line)],
        notes=[*map(str, remarks.notes), *_never_learned(ws, version_id, asked)],
        dry_run=options.dry_run,
    )


def _prompt_lines(
    ws: Workspace, options: GenerateOptions, remarks: _Remarks
) -> Iterable[PromptLine]:
    if options.sheet is None:
        lines = prompts_from_options(options.texts, options.modalities)
        if options.prior is None:
            return lines
        named = {"prior": options.prior} | ({"keep": str(options.keep)} if options.keep else {})
        found: dict[str, Condition] = {}
        for role, written in named.items():
            file = Path(written)
            folder, name = (file.parent, file.name) if file.is_file() else (Path(), written)
            images = ConditionImages(ws, folder, keep=not options.dry_run)
            try:
                found |= images.of({role: name})
            except Refused as reason:
                raise CurateError(f"--{role} {written}: {reason}.") from reason
        return [replace(line, conditions=found) for line in lines]
    sheet = options.sheet
    beside = Beside(
        modality=options.modalities[0] if options.modalities else None,
        conditions=ConditionImages(ws, sheet.parent, keep=not options.dry_run),
        records=None if options.records is None else read_records(options.records),
    )

    def read(remarks: _Remarks) -> Iterator[PromptLine]:
        told = {"refuse": remarks.refused.append, "note": remarks.notes.append}
        return stream_prompts(sheet, beside, **told)

    if options.balance is None:
        return read(remarks)
    readings = iter([_Remarks(), remarks])  # the sheet is read twice, and remarked on once
    return balanced_lines(ws, lambda: read(next(readings)), options.balance)


def _noting_modalities(lines: Iterable[PromptLine], asked: set[str]) -> Iterator[PromptLine]:
    for line in lines:
        asked.add(line.modality)
        yield line


def _never_learned(ws: Workspace, version_id: str, asked: set[str]) -> list[str]:
    """Return a line for each modality that the embedded model never saw, if it is asked for it."""
    version = ws.session.get(GeneratorVersion, version_id)
    while version is not None and version.how_made == "rl-step":  # teaches no modality
        version = ws.session.get(GeneratorVersion, version.parent_id)
    if version is None or version.how_made != "embedded":
        return []
    known = dict.fromkeys(row["modality"] for row in shipped_prompts())
    return [
        f"The embedded model never learned {modality}: these images show something else. It knows "
        f"{', '.join(known)}; teach it with `curate train-generator --modality {modality}`."
        for modality in sorted(asked - set(known))
    ]


def _run(ws: Workspace, plan: Plan, options: GenerateOptions, make: MakeRun) -> Generated:
    if not options.dry_run:
        queries.runs.get_or_add_run(ws.session, plan.row())
        ws.session.commit()  # the prompts that the sheet has brought
    num_missing = plan.num_items - queries.runs.num_items_done(ws.session, plan)
    if options.dry_run:
        return Generated(plan.id, plan.num_items, plan.num_items - num_missing, num_missing)
    with progress(num_missing, "images") as advance:
        return make(ws, plan, advance)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM, a job system's or a machine's shutting down, end as calmly as Ctrl-C."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
