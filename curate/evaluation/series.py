"""Versions in a row: along a training, or beside each other where their settings differ.

Every version makes the same prompts at equal noise, so that what differs is its weights. The
images lie in the cache, not among the workspace's: nobody rates or exports a half-trained model's.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from scipy.stats import rankdata

from curate.errors import CurateError
from curate.evaluation.axes import Axes
from curate.evaluation.compare import HELD_OUT, REAL_TIMES, compare
from curate.evaluation.config import OF_A_SET, AxesConfig, EvaluationConfig, SeriesConfig
from curate.evaluation.intervals import Estimate, wilson_interval
from curate.evaluation.sets import FolderFiles, ImageSet, SetImage, real_set
from curate.importing.config import ImportConfig
from curate.production.images import noise_seeds, prompt_values, samples_of
from curate.production.plan import settings_hash
from curate.production.versions import load_version
from curate.progress import ShowProgress
from curate.samples.formats import PNG, encode
from curate.workspace import Workspace
from db import queries
from db.folders import replace_file
from db.models import GeneratorVersion
from generators.base import Prompt
from generators.config import SamplingSettings

BETTER = {  # the figures that are followed: 1 where more is better, -1 where less is
    "Frechet distance": -1,
    "FID": -1,
    "KID": -1,
    "inception score": 1,
    "MS-SSIM within prompts": -1,
    "read as asked": 1,
}
IMPROVING, FLAT, WORSE = "still improving", "flat", "getting worse"


@dataclass(frozen=True)
class Measured:
    """One version's figures."""

    version_id: str
    name: str  # "step 200", or the version's first digits
    step: int
    figures: Mapping[str, Estimate]
    mean_rank: float  # over the figures that all have; 1 is best


@dataclass(frozen=True)
class Series:
    """All versions in order, what can be said of each figure, and which settings differ."""

    num_images: int
    versions: tuple[Measured, ...]
    verdicts: Mapping[str, str]  # of a training: how each figure moves at its end
    settings: Mapping[str, tuple[Any, ...]]  # those that differ, a value a version
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the table for a person to read."""
        lines = [f"{self.num_images} images of each version at equal noise; 95 % intervals"]
        for one in self.versions:
            cells = [
                f"{n} {e.value:.3f} ({e.low:.3f} to {e.high:.3f})" for n, e in one.figures.items()
            ]
            lines.append(f"  {one.name:<14} {'; '.join(cells)}; mean rank {one.mean_rank:.1f}")
        lines += [f"  {name}: {verdict}" for name, verdict in self.verdicts.items()]
        for name, values in self.settings.items():
            lines.append(f"  {name}: {', '.join(str(value) for value in values)}")
        return lines + [f"Note: {note}" for note in self.notes]


def measure_series(
    ws: Workspace,
    config: SeriesConfig,
    of: EvaluationConfig,
    axes: AxesConfig,
    sampling: SamplingSettings,
    progress: ShowProgress,
) -> Series:
    """Make the images that are missing in the cache and measure each version.

    Raises CurateError where there are no real training images, or nothing to compare.
    """
    rows = _along(ws, config.along) if config.along else _named(ws, config.ablation)
    train, test = real_set(ws, ("train", None)), real_set(ws, HELD_OUT)
    if not train.images:
        raise CurateError("There are no real training images to compare with: `curate import`.")
    prompt_ids = sorted({image.prompt for image in train.images})[: config.prompts_in_all]
    count = max(2, of.images_per_version // len(prompt_ids))
    with progress(len(rows) * len(prompt_ids) * count, "images") as advance:
        sets = []
        for row in rows:
            sets.append(_images_of(ws, row, prompt_ids, count, sampling, advance))
    most = REAL_TIMES * of.images_per_version
    held_out = test.sample(most) if test.images else None
    alone = replace(axes, only=axes.only or OF_A_SET)  # nothing is trained on each of them
    found = compare(sets, train.sample(most), held_out, alone, progress)
    figures = [_followed(one) for one in found.sets]
    ranks = _mean_ranks(figures)
    steps = _steps_of(rows) if config.along else [0] * len(rows)
    names = [
        f"step {s}" if config.along else row.id[:12] for s, row in zip(steps, rows, strict=True)
    ]
    versions = tuple(
        Measured(row.id, name, step, its, rank)
        for row, name, step, its, rank in zip(rows, names, steps, figures, ranks, strict=True)
    )
    return Series(
        num_images=len(prompt_ids) * count,
        versions=versions,
        verdicts=_verdicts(figures) if config.along else {},
        settings={} if config.along else _differing(rows),
        notes=found.notes,
    )


def _along(ws: Workspace, name: str) -> list[GeneratorVersion]:
    """Return the start of a version's training, what was kept on its way, and the version."""
    last = queries.versions.find_version(ws.session, name)
    kept = queries.versions.checkpoints_of(ws.session, last)
    if not kept or last.parent_id is None:
        raise CurateError(
            f"Version {last.id[:12]} has nothing on its way to measure: train with `curate "
            "train-generator --keep-every STEPS`."
        )
    return [queries.versions.find_version(ws.session, last.parent_id), *kept, last]


def _named(ws: Workspace, names: Sequence[str]) -> list[GeneratorVersion]:
    found = {row.id: row for row in (queries.versions.find_version(ws.session, n) for n in names)}
    if len(found) < 2:
        raise CurateError("--ablation compares versions: name two or more, each with --ablation.")
    return list(found.values())


def _steps_of(rows: Sequence[GeneratorVersion]) -> list[int]:
    return [0, *(int(row.config["step"]) for row in rows[1:-1]), int(rows[-1].metrics["num_steps"])]


def _images_of(
    ws: Workspace,
    row: GeneratorVersion,
    prompt_ids: Sequence[str],
    count: int,
    sampling: SamplingSettings,
    advance: Any,
) -> ImageSet:
    """Return a version's images, made where the cache has none: a stopped command goes on."""
    folder = ws.cache / "series" / row.id / settings_hash(sampling.to_json())[:16]
    prompts = prompt_values(ws, prompt_ids)
    places = [(prompt_id, seed) for prompt_id in prompt_ids for seed in range(count)]
    paths = {place: folder / f"{place[0][:24]}-{place[1]}.png" for place in places}
    missing = [place for place in places if not paths[place].is_file()]
    advance(len(places) - len(missing))
    if missing:
        _make(
            ws,
            row,
            [(place, prompts[place[0]], paths[place]) for place in missing],
            sampling,
            advance,
        )
    files = FolderFiles(ImportConfig())
    images = [
        SetImage(
            file_sha256=files.add(paths[prompt_id, seed]),
            name=paths[prompt_id, seed].name,
            modality=prompts[prompt_id].modality,
            label=prompts[prompt_id].label,
            text=prompts[prompt_id].text,
            prompt=prompt_id,
            seed=seed,
        )
        for prompt_id, seed in places
    ]
    return ImageSet(name=row.id[:12], images=tuple(images), store=files, cache=ws.cache)


def _make(
    ws: Workspace,
    row: GeneratorVersion,
    asked: Sequence[tuple[tuple[str, int], Prompt, Path]],
    sampling: SamplingSettings,
    advance: Any,
) -> None:
    generator = load_version(ws, row.id)
    for start in range(0, len(asked), sampling.batch_size):
        part = asked[start : start + sampling.batch_size]
        noise = noise_seeds([p for (p, _), _, _ in part], [s for (_, s), _, _ in part], sampling)
        made = samples_of(generator, [prompt for _, prompt, _ in part], noise, sampling)
        for (_, _, path), sample in zip(part, made, strict=True):
            written = encode(sample)
            if written.media_type != PNG:
                raise CurateError("Versions in a row are measured on pictures, not on volumes.")
            replace_file(path, written.content)
        advance(len(part))


def _followed(of: Axes) -> dict[str, Estimate]:
    """Return the figures of all images; of what is told by class, over the classes."""
    found: dict[str, Estimate] = {}
    for name in BETTER:
        own = [one for one in of.measures if one.name == name and one.estimate is not None]
        whole = [one.estimate for one in own if one.of == "all"]
        parts = [one.estimate for one in own if one.estimate is not None]
        if whole and whole[0] is not None:
            found[name] = whole[0]
        elif parts and name == "read as asked":
            hits = sum(round(one.value * one.num) for one in parts)
            found[name] = wilson_interval(hits, sum(one.num for one in parts))
        elif parts:
            mean = fmean(one.value for one in parts)
            found[name] = Estimate(mean, mean, mean, sum(one.num for one in parts))
    return found


def _mean_ranks(figures: Sequence[Mapping[str, Estimate]]) -> list[float]:
    shared = [name for name in BETTER if all(name in one for one in figures)]
    if not shared:
        return [math.nan] * len(figures)
    ranks = [rankdata([-BETTER[name] * one[name].value for one in figures]) for name in shared]
    return [float(fmean(rank[place] for rank in ranks)) for place in range(len(figures))]


def _verdicts(figures: Sequence[Mapping[str, Estimate]]) -> dict[str, str]:
    """Compare the end with the last that was kept before it.

    "Still improving" and "getting worse" lie beyond both intervals together; the images share
    their noise, so that this is the careful side.
    """
    before, last = figures[-2:]
    told = {}
    for name, better in BETTER.items():
        if name not in before or name not in last:
            continue
        gain = better * (last[name].value - before[name].value)
        widths = [(one[name].high - one[name].low) / 2 for one in (before, last)]
        if not any(widths):
            told[name] = "no interval, so nothing is said of it"
        else:
            beyond = math.hypot(*widths)
            told[name] = IMPROVING if gain > beyond else WORSE if gain < -beyond else FLAT
    return told


def _differing(rows: Sequence[GeneratorVersion]) -> dict[str, tuple[Any, ...]]:
    """Return the settings that are not the same for all, as dotted names."""
    flat = [dict(_flattened("", {**row.config, "how_made": row.how_made})) for row in rows]
    names = sorted({name for one in flat for name in one})
    values = {name: tuple(one.get(name, "-") for one in flat) for name in names}
    return {n: its for n, its in values.items() if any(value != its[0] for value in its)}


def _flattened(above: str, values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        whole = f"{above}.{name}" if above else name
        found += _flattened(whole, value) if isinstance(value, Mapping) else [(whole, value)]
    return found
