"""`curate effect`: the same mask, the same noise, one field of the record changed.

What differs then is what the field does in this generator. Shapes: [D, H, W] or [H, W].
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from curate.clinical.config import EffectConfig
from curate.clinical.page import ShownCase, write_page
from curate.clinical.statistics import Contrast, Dose, Effect, dose_of, effects_of
from curate.errors import CurateError
from curate.importing.conditions import ConditionImages
from curate.importing.errors import Refused
from curate.production.images import condition_image, prompt_values
from curate.production.run import chosen_device
from curate.production.versions import load_version
from curate.progress import Advance
from curate.training.selection import split_of
from curate.workspace import Workspace
from db import queries
from db.hashing import json_hash
from generators.base import Generator, Prompt
from generators.clinical.records import Field, FieldMap
from generators.config import SamplingSettings
from generators.families.clinical_text import PLACEBO

LARGEST_TESTED = 2**16  # voxels of a patch: more take hours on a processor
LEAST_VOXELS = 8  # of a region in a case: fewer say nothing
VALIDATION_SHARE = 0.1  # as a training holds out, where the import names no split

Voxels = NDArray[Any]


@runtime_checkable
class ReadsRecords(Protocol):
    """A conditioner that says records by a field map."""

    fields: FieldMap
    placebos: int

    def text_of(self, prompt: Prompt) -> str:
        """Return what is said of a prompt."""
        ...


@dataclass(frozen=True)
class FieldValues:
    """A field and the values that it is given in turn."""

    field: str
    values: tuple[Any, ...]

    @property
    def pairs(self) -> list[tuple[Any, Any]]:
        """Return every two values, the first named first."""
        return list(combinations(self.values, 2))


@dataclass(frozen=True)
class EffectStudy:
    """What a run of `curate effect` found."""

    version_id: str
    cases: int
    unit: str
    smallest: float
    effects: list[Effect]
    doses: list[Dose]
    control: list[Effect]  # the same comparisons in a version that hears no text
    folder: Path

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "version": self.version_id,
            "cases": self.cases,
            "unit": self.unit,
            "smallest": self.smallest,
            "effects": [effect.to_json() for effect in self.effects],
            "doses": [dose.to_json() for dose in self.doses],
            "control": [effect.to_json() for effect in self.control],
            "folder": str(self.folder),
            "of": "this generator; not a finding about patients",
        }


def find_effects(
    ws: Workspace, config: EffectConfig, advance: Advance = lambda count: None
) -> EffectStudy:
    """Ask a version what fields do, write pictures, volumes and a page, and return it all."""
    version = queries.versions.find_version(ws.session, config.version)
    generator = load_version(ws, version.id).to(chosen_device(config.device))
    reader = _reader(generator)
    prompts = _cases(ws, config, reader.fields)
    asked = _asked(config, reader.fields, prompts)
    key = json_hash([version.id, config.smallest, config.seed, config.steps, repr(asked)])
    folder = ws.folder / "reports" / "effects" / key[:12]
    found, doses, shown = measured(generator, prompts, asked, config, advance)
    control: list[Effect] = []
    if config.control is not None:
        beside = load_version(ws, queries.versions.find_version(ws.session, config.control).id)
        control, _, _ = measured(beside, prompts, asked, config, lambda count: None)
    study = EffectStudy(
        version.id,
        len(prompts),
        generator.output.kind,
        config.smallest,
        found,
        doses,
        control,
        folder,
    )
    write_page(folder, study.to_json(), shown)
    about = {"version": version.id, "folder": key[:12]}
    queries.audit.record_result(ws.session, "effect", about, {})
    return study


def after_training(ws: Workspace, version_id: str) -> list[str]:
    """Return what fields do on held-out masks, so that a model whose text does nothing says so.

    Nothing of a generator that reads no record; of large volumes only how to ask.
    """
    generator = load_version(ws, version_id)
    if not isinstance(getattr(generator, "conditioner", None), ReadsRecords):
        return []
    if math.prod(generator.output.shape) > LARGEST_TESTED:
        return ["What its fields do: `curate effect --field F --values A,B`"]
    try:
        return lines(find_effects(ws, EffectConfig(version=version_id, count=8, pictures=0)))
    except CurateError as error:
        return [f"What its fields do was not tested: {error}"]


def measured(
    generator: Generator,
    prompts: Sequence[Prompt],
    asked: Sequence[FieldValues],
    config: EffectConfig,
    advance: Advance,
) -> tuple[list[Effect], list[Dose], list[ShownCase]]:
    """Make every case with every value, and compare region by region.

    One case is held at a time: only regions' means are kept, and a few cases' images.
    """
    num_lots = _reader(generator).placebos
    lots = [FieldValues(f"{PLACEBO} {number}", ("a", "b")) for number in range(num_lots)]
    settings = SamplingSettings(num_steps=config.steps, batch_size=config.batch_size)
    differences: dict[Contrast, list[float]] = {}
    shown: list[ShownCase] = []
    labels = {int(n) for prompt in prompts for n in np.unique(prompt.images["mask"].array)}
    regions = {f"label {number}": number for number in sorted(labels)}
    for number, prompt in enumerate(prompts):
        mask = prompt.images["mask"]
        for one in (*asked, *lots):
            variants = [
                replace(prompt, record={**prompt.record, one.field: value}) for value in one.values
            ]
            seeds = [config.seed + number] * len(variants)
            made = generator.generate(generator.condition(variants), seeds, settings)
            arrays = dict(zip(one.values, made[:, 0].cpu().numpy(), strict=True))
            for a, b in one.pairs:
                change = arrays[b] - arrays[a]
                for region, label in regions.items():
                    inside = change[mask.array[0] == label]
                    mean = float(inside.mean()) if inside.size >= LEAST_VOXELS else np.nan
                    differences.setdefault(Contrast(one.field, a, b, region), []).append(mean)
            if number < config.pictures and one in asked:
                a, b = one.values[0], one.values[-1]
                shown.append(
                    ShownCase(number, one.field, a, b, arrays[a], arrays[b], mask, prompt.text)
                )
        advance(1)
    values = {test: np.array(several) for test, several in differences.items()}
    of_lots = {lot.field for lot in lots}
    placebos: dict[str, list[float]] = {}
    for test, several in values.items():
        if test.field in of_lots:
            known = several[~np.isnan(several)]
            placebos.setdefault(test.region, []).append(known.mean() if len(known) else np.nan)
    real = {test: several for test, several in values.items() if test.field not in of_lots}
    bounds = {name: np.array(means) for name, means in placebos.items()}
    found = effects_of(real, bounds, smallest=config.smallest)
    doses = []
    for one in asked:
        for region in regions:
            if len(one.values) > 2:
                first = one.values[0]
                against = [values[Contrast(one.field, first, b, region)] for b in one.values[1:]]
                table = np.stack([np.zeros(len(prompts)), *against], axis=1)
                doses.append(dose_of(one.field, region, one.values, table))
    return found, doses, shown


def _reader(generator: Generator) -> ReadsRecords:
    conditioner = getattr(generator, "conditioner", None)
    if isinstance(conditioner, ReadsRecords):
        return conditioner
    raise CurateError(
        f"Family {generator.family!r} reads no record, so no field of one does anything. Name a "
        "clinical version with --version: `curate generators list`."
    )


def _asked(config: EffectConfig, fields: FieldMap, prompts: Sequence[Prompt]) -> list[FieldValues]:
    """Return the fields to change with their values, cleaned as the records are."""
    if not config.fields:
        every = [FieldValues(one.name, _usual_values(one, prompts)) for one in fields.fields]
        return [one for one in every if len(one.values) > 1]
    written = dict(zip(config.fields, config.values, strict=False))
    asked = []
    for name in config.fields:
        one = fields[name]
        values = (
            tuple(one.clean(text) for text in written[name].split(","))
            if name in written
            else _usual_values(one, prompts)
        )
        if len(set(values)) < 2 or None in values:
            raise CurateError(
                f"--field {name} needs at least two known values: {written.get(name, 'none')!r}. "
                f"Give --values, as {','.join(list(one.values)[:2]) or '24,68'}."
            )
        asked.append(FieldValues(name, values))
    return asked


def _usual_values(field: Field, prompts: Sequence[Prompt]) -> tuple[Any, ...]:
    """Return a field's values from the least to the most; of numbers a low and a high one.

    Of a text there are none: what could be compared is not known.
    """
    if field.kind == "choice":
        return tuple(field.order or field.values)
    if field.kind == "text":
        return ()
    found = [field.clean(prompt.record.get(field.name)) for prompt in prompts]
    numbers = sorted(float(value) for value in found if value is not None)
    if len(set(numbers)) < 2:
        return ()
    low, high = np.quantile(numbers, [0.1, 0.9], method="nearest")
    return tuple(int(v) if float(v).is_integer() else float(v) for v in dict.fromkeys((low, high)))


def _cases(ws: Workspace, config: EffectConfig, fields: FieldMap) -> list[Prompt]:
    """Return masks with records: those that were named, or cases that no training learned."""
    if config.cases:
        return [_named_case(ws, written, fields) for written in config.cases]
    real = queries.images.images_to_learn(ws.session, origin="real")
    held_out = [image for image in real if split_of(image, VALIDATION_SHARE) != "train"]
    ids = list(dict.fromkeys(image.prompt_id for image in held_out))
    with_mask = [
        i for i, roles in queries.prompts.conditions_of(ws.session, ids).items() if "mask" in roles
    ]
    values = prompt_values(ws, sorted(with_mask)[: config.count])
    if not values:
        raise CurateError(
            f"There is no held-out image with a mask among {len(real)} real images. Import some "
            "with columns mask and split, or name cases with --case MASK+RECORD."
        )
    return list(values.values())


def _named_case(ws: Workspace, written: str, fields: FieldMap) -> Prompt:
    path, plus, said = written.partition("+")
    try:
        text = said if said.lstrip().startswith("{") else Path(said).read_text(encoding="utf-8")
        record = json.loads(text) if plus else {}
    except (OSError, ValueError) as error:
        raise CurateError(
            f'--case {written}: give MASK+{{"age": 61}} or MASK+FILE ({error}).'
        ) from error
    file = Path(path).absolute()
    try:
        found = ConditionImages(ws, file.parent).of({"mask": file.name})["mask"]
    except Refused as reason:
        raise CurateError(f"--case {written}: {reason}.") from reason
    mask = condition_image(ws.store.get(found.file_sha256), "mask")
    return Prompt("", Path(path).name, record=fields.clean(record), images={"mask": mask})


def lines(study: EffectStudy, of: Callable[[Effect], bool] = lambda effect: True) -> list[str]:
    """Return what was found for people: a line a comparison with an effect, then what has none."""
    said = [
        f"{study.cases} held-out masks, equal noise, one field changed; {study.unit}, b minus a "
        f"(95 % interval over masks; Holm's p; placebo fields' 95th percentile)"
    ]
    effects = [effect for effect in study.effects if of(effect)]
    for one in (effect for effect in effects if effect.is_found):
        said.append(
            f"effect: {one.test.field} {one.test.a} -> {one.test.b}, {one.test.region}: "
            f"{one.mean:+.1f} ({one.low:+.1f} to {one.high:+.1f}), d {one.size:.1f}, p "
            f"{one.p_holm:.1g}, placebo {one.placebo:.1f}, sign {one.agree:.0%}"
        )
    found = {(e.test.field, e.test.region) for e in effects if e.is_found}
    for field in sorted({e.test.field for e in effects} - {field for field, _ in found}):
        largest = max((e for e in effects if e.test.field == field), key=lambda e: abs(e.mean))
        said.append(
            f"no effect found: {field} (at most {largest.mean:+.1f} in {largest.test.region}: "
            f"{largest.why_not})"
        )
    for dose in (dose for dose in study.doses if (dose.field, dose.region) in found):
        means = ", ".join(f"{v} {m:+.1f}" for v, m in zip(dose.values, dose.means, strict=True))
        slope = ""
        if dose.slope is not None:
            interval = f"{dose.slope_low:+.2f} to {dose.slope_high:+.2f}"
            slope = f"; {dose.slope:+.2f} a unit ({interval})"
        said.append(
            f"dose: {dose.field} in {dose.region}: {means}; in order in {dose.in_order:.0%} of "
            f"masks{slope}"
        )
    return [*said, f"Of this generator, not of patients. Pages: {study.folder}"]
