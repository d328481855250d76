"""`curate generate`: from a sheet or texts to runs, one for each count; or a release made again."""

from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.export.manifest import read_manifest
from curate.generate import Generated, missing_items, plan_run, run_plan
from curate.generators_store import embedded_version, import_version
from curate.importing.table import Remark
from curate.progress import progress
from curate.prompts import PromptLine, prompts_from_options, read_prompt_sheet
from curate.remake import write_images
from curate.workspace import Workspace
from db import queries
from db.models import GeneratorVersion, Prompt, Run
from generators.config import SamplingSettings


@dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """What to make, how many, and with which version."""

    sheet: Path | None = None
    texts: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    count: int = 10
    first_seed: int = 0
    version: str | None = None
    base: str | None = None
    unet: str | None = None
    dry_run: bool = False
    settings: SamplingSettings


@dataclass(frozen=True)
class Made:
    """What a call planned and did; a sheet with several counts has several runs."""

    version_id: str
    runs: list[Generated]
    refused: list[str]
    notes: list[str]
    dry_run: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return a line for each run, after the sheet's remarks."""
        done = "would be made" if self.dry_run else "made"
        runs = [
            f"{run.made} images {done}, {run.already} there already, {run.planned} planned "
            f"(run {run.run_id[:12]}, generator version {self.version_id[:12]})"
            for run in self.runs
        ]
        return [*self.notes, *(f"refused: {line}" for line in self.refused), *runs]


def generate_images(ws: Workspace, options: GenerateOptions) -> Made:
    """Make what is missing of the plan, showing progress."""
    lines, refused, notes = _prompt_lines(options)
    version = _version(ws, options)
    runs = [
        plan_run(
            ws,
            version,
            prompts,
            count=count,
            first_seed=options.first_seed,
            settings=options.settings,
        )
        for count, prompts in _by_count(ws, lines, options.count).items()
    ]
    return Made(
        version_id=version.id,
        runs=[_only_counted(ws, run) if options.dry_run else _run(ws, run) for run in runs],
        refused=[str(remark) for remark in refused],
        notes=[str(remark) for remark in notes],
        dry_run=options.dry_run,
    )


def version_to_use(ws: Workspace, name: str | None) -> GeneratorVersion:
    """Return the version of this name; without one, the latest, or else the embedded model."""
    if name is None and queries.latest_version(ws.session) is None:
        return embedded_version(ws)
    return queries.find_version(ws.session, name or "latest")


def rows_of(ws: Workspace, lines: list[PromptLine]) -> list[Prompt]:
    """Return the rows of prompt lines, adding new ones."""
    return [
        queries.get_or_add_prompt(
            ws.session, modality=line.modality, text=line.text, label=line.label
        )
        for line in lines
    ]


def make_release_again(ws: Workspace, release: Path, out: Path | None) -> str:
    """Write a release's images, made from their seeds, to `out`; say what was done."""
    if out is None:
        raise CurateError("--from-manifest needs --out, a new folder for the images.")
    manifest = read_manifest(release.parent if release.is_file() else release)
    with progress(len(manifest.images), "images made again") as advance:
        write_images(ws, manifest.images, out, advance)
    return f"{len(manifest.images)} images made again in {out}. Compare: `curate export --verify`."


def _prompt_lines(
    options: GenerateOptions,
) -> tuple[list[PromptLine], list[Remark], list[Remark]]:
    if options.sheet is None:
        return prompts_from_options(options.texts, options.modalities), [], []
    if options.texts:
        raise CurateError("Both --prompts and --prompt: give one of them.")
    modality = options.modalities[0] if options.modalities else None
    sheet = read_prompt_sheet(options.sheet, modality=modality)
    return sheet.prompts, sheet.refused, sheet.notes


def _version(ws: Workspace, options: GenerateOptions) -> GeneratorVersion:
    if options.base is None:
        return version_to_use(ws, options.version)
    if options.version is not None:
        raise CurateError("Both --version and --base: give one of them.")
    return import_version(ws, options.base, unet=options.unet)


def _by_count(ws: Workspace, lines: list[PromptLine], default: int) -> dict[int, list[Prompt]]:
    by_count: dict[int, list[Prompt]] = defaultdict(list)
    for line, row in zip(lines, rows_of(ws, lines), strict=True):
        by_count[line.count or default].append(row)
    return by_count


def _run(ws: Workspace, run: Run) -> Generated:
    num_missing = sum(1 for _ in missing_items(ws, run))
    with progress(num_missing, "images") as advance:
        return run_plan(ws, run, advance)


def _only_counted(ws: Workspace, run: Run) -> Generated:
    num_missing = sum(1 for _ in missing_items(ws, run))
    return Generated(run.id, run.num_items, run.num_items - num_missing, num_missing)
