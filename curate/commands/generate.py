"""`curate generate`: from a sheet or texts to runs; or a release made again."""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from curate.commands.on_ray import ray_installed
from curate.errors import CurateError
from curate.importing.conditions import ConditionImages
from curate.importing.records import read_records
from curate.importing.table import Remark
from curate.production.plan import Plan, plans_of
from curate.production.run import Generated, run_plan
from curate.production.versions import embedded_version, import_version
from curate.progress import progress
from curate.prompts.plan import balanced_lines, planned
from curate.prompts.sheet import Beside, PromptLine, prompts_from_options, stream_prompts
from curate.release.manifest import read_manifest
from curate.release.remake import write_images
from curate.workspace import Workspace
from db import queries
from db.models import GeneratorVersion, Prompt
from generators.config import SamplingSettings


@dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """What to make, how many, with which version, and where."""

    sheet: Path | None = None
    records: Path | None = None  # a table of clinical records by patient or image
    texts: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    count: int = 10
    balance: int | None = None  # instead of count: so many of each label, real images included
    first_seed: int = 0
    version: str | None = None
    base: str | None = None
    unet: str | None = None
    dry_run: bool = False
    device: str = "auto"
    ray: str | None = None  # "auto" or a cluster's address
    settings: SamplingSettings


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
        runs = [
            f"{run.made} images {done}, {run.already} there already, {run.planned} planned "
            f"(run {run.run_id[:12]}, generator version {self.version_id[:12]}){_flaws(run)}"
            for run in self.runs
        ]
        return [*self.notes, *(f"refused: {line}" for line in self.refused), *runs]


def _flaws(run: Generated) -> str:
    broken = f"; {run.broken} left out: their pixels are no numbers" if run.broken else ""
    return broken + ("; stopped: the same command goes on" if run.stopped else "")


@dataclass(frozen=True)
class _Remarks:
    refused: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)


def generate_images(ws: Workspace, options: GenerateOptions) -> Made:
    """Make what is missing of the plan, showing progress; the sheet is read as it is worked off."""
    remarks = _Remarks()
    lines = _prompt_lines(ws, options, remarks)
    version = _version(ws, options)
    wanted = planned(
        ws,
        lines,
        count=options.count,
        first_seed=options.first_seed,
        keep=not options.dry_run,
    )
    done = []
    with _terminated_like_interrupted():
        for plan in plans_of(version.id, wanted, options.settings):
            done.append(_run(ws, plan, options))
            if done[-1].stopped:
                break
    return Made(
        version_id=version.id,
        runs=done,
        refused=[str(remark) for remark in sorted(remarks.refused, key=lambda r: r.line)],
        notes=[str(remark) for remark in remarks.notes],
        dry_run=options.dry_run,
    )


def version_to_use(ws: Workspace, name: str | None) -> GeneratorVersion:
    """Return the version of this name; without one, the latest, or else the embedded model."""
    if name is None and queries.versions.latest_version(ws.session) is None:
        return embedded_version(ws)
    return queries.versions.find_version(ws.session, name or "latest")


def rows_of(ws: Workspace, lines: list[PromptLine]) -> list[Prompt]:
    """Return the rows of prompt lines, adding new ones."""
    ids = queries.prompts.add_prompts(ws.session, [line.prompt for line in lines])
    found = queries.prompts.prompts_by_id(ws.session, ids)
    return [found[prompt_id] for prompt_id in ids]


def make_release_again(ws: Workspace, release: Path, out: Path | None) -> str:
    """Write a release's images, made from their seeds, to `out`; say what was done."""
    if out is None:
        raise CurateError("--from-manifest needs --out, a new folder for the images.")
    manifest = read_manifest(release)
    with progress(len(manifest.images), "images made again") as advance:
        write_images(ws, manifest.images, out, advance)
    return f"{len(manifest.images)} images made again in {out}. Compare: `curate export --verify`."


def _prompt_lines(
    ws: Workspace, options: GenerateOptions, remarks: _Remarks
) -> Iterable[PromptLine]:
    if options.sheet is None:
        if options.records is not None:
            raise CurateError("--records needs --prompts FILE, with a column patient or image.")
        if options.balance is not None:
            raise CurateError("--balance needs --prompts FILE, with a label a line.")
        return prompts_from_options(options.texts, options.modalities)
    if options.texts:
        raise CurateError("Both --prompts and --prompt: give one of them.")
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


def _version(ws: Workspace, options: GenerateOptions) -> GeneratorVersion:
    if options.base is None:
        return version_to_use(ws, options.version)
    if options.version is not None:
        raise CurateError("Both --version and --base: give one of them.")
    return import_version(ws, options.base, unet=options.unet)


def _run(ws: Workspace, plan: Plan, options: GenerateOptions) -> Generated:
    if not options.dry_run:
        queries.runs.get_or_add_run(ws.session, plan.row())
        ws.session.commit()  # the prompts that the sheet has brought
    num_missing = plan.num_items - queries.runs.num_items_done(ws.session, plan)
    if options.dry_run:
        return Generated(plan.id, plan.num_items, plan.num_items - num_missing, num_missing)
    with progress(num_missing, "images") as advance:
        if options.ray is None:
            return run_plan(ws, plan, advance, device=options.device)
        with ray_installed():
            from curate.cluster.generate import run_plan_on_ray
        return run_plan_on_ray(ws, plan, advance, address=options.ray)


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
