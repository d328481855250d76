"""Procedural chests: a young clinical generator learns to make cleaner ones, and keeps its effect.

Masks and records of the loop are of chests that no training saw. Raters and judge both know what a
mask and a record mean in HU, and look at it in different ways: the raters at regions, the judge at
voxels. Shapes: [D, H, W].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.clinical.chests import (
    AGES,
    DIAGNOSES,
    LABELS,
    LUNGS,
    MEANS,
    NOISE,
    SMOKING,
    Planted,
    chest,
    dice,
    segmented,
)
from curate.clinical.config import DemoConfig
from curate.clinical.demo import UNSEEN, make_demo
from curate.demos.base import (
    LEARNING,
    Begun,
    Demo,
    Guard,
    MadeAlike,
    Say,
    family_circle,
    grade,
    store_prompts,
)
from curate.evaluation.intervals import bootstrap_mean, paired_bootstrap
from curate.evaluation.judge import ToJudge
from curate.loop.config import CircleConfig
from curate.production.images import prompt_values, samples_of
from curate.production.versions import load_version
from curate.report.shown import ShownCases, row, seen, signed
from curate.samples.formats import encode, read_sample
from curate.simulated import hold_demo
from curate.workspace import Workspace
from db import queries
from db.models import Prompt
from db.queries.prompts import NewPrompt
from generators.base import Prompt as PromptValue
from generators.config import SamplingSettings
from generators.sample import Sample
from generators.simulated import Simulated

FAMILY = "clinical"
ROLE = "mask"
RUBRIC = Path(__file__).parent / "chests.toml"
FOLLOWS, DENSITIES, GRAIN = "follows-mask", "densities", "grain"
OVERLAP = (0.96, 0.90)  # Dice of the lungs as thresholds find them here and where they should be
OFF = (50.0, 90.0)  # mean distance of a region's mean from what the record lets expect, in HU
COARSE = (2.5, 4.5)  # standard deviation within a region, in those of a scan's noise
VOXEL_OFF = 60.0  # HU: what the judge lets pass of a voxel
LEAST_RIGHT = 0.85  # share of such voxels
MOST_FALL = 0.02  # of the lungs' Dice
EFFECT_KEPT = 0.10  # change of the planted effect, as a share of the base's
SAMPLING = SamplingSettings(num_steps=12, batch_size=16)
SHOWN_CASES = 5
SCALE = 120.0  # HU: the end of a difference's colours


@dataclass(frozen=True)
class ChestsSize:
    """How large the demo is."""

    cases: int = 160  # chests that are learned
    steps: int = 400  # of the base's training
    asked: int = 32  # chests asked for in the loop, and as many by the judge


def expected(prompt: PromptValue) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return what a mask and a whole record let expect in HU, and the mask."""
    mask, planted, record = prompt.images[ROLE].array[0], Planted(), prompt.record
    values = np.vectorize(MEANS.get)(mask).astype(float)
    share = (record["age"] - AGES[0]) / (AGES[1] - AGES[0])
    values[mask == LABELS["body"]] += planted.age * share
    values[np.isin(mask, LUNGS)] += planted.smoking * (record["smoking"] == SMOKING[1])
    return values, mask


def grades(sample: Sample, prompt: PromptValue) -> dict[str, float]:
    """Return each criterion's quality in grades, for the simulated raters."""
    image = sample.array[0].astype(float)
    values, mask = expected(prompt)
    off, coarse = [], []
    for label in LABELS.values():
        inside = image[mask == label]
        off.append(abs(float((inside - values[mask == label]).mean())))
        coarse.append(float(inside.std()) / NOISE)
    return {
        FOLLOWS: grade(dice(segmented(image), segmented(values), LUNGS), *OVERLAP),
        DENSITIES: grade(float(np.mean(off)), *OFF),
        GRAIN: grade(float(np.mean(coarse)), *COARSE),
    }


def quality(sample: Sample, prompt: PromptValue) -> float:
    """Return the weakest criterion's quality."""
    return min(grades(sample, prompt).values())


def deserves_top(sample: Sample, prompt: PromptValue) -> bool | None:
    """Say what the judge says: nearly all voxels are as the mask says, at the lungs' own level.

    It says nothing of a prompt with holes in its record.
    """
    if ROLE not in prompt.images or not {"age", "smoking"} <= set(prompt.record):
        return None
    return share_right(sample, prompt) >= LEAST_RIGHT


def share_right(sample: Sample, prompt: PromptValue) -> float:
    """Return the share of voxels inside the body that are near what is expected of them."""
    image = sample.array[0].astype(float)
    values, mask = expected(prompt)
    lungs = np.isin(mask, LUNGS)
    values[lungs] += np.median(image[lungs] - values[lungs])  # each patient's own
    return float((np.abs(image - values)[mask > 0] <= VOXEL_OFF).mean())


def simulated(ws: Workspace) -> Simulated:
    """Return the raters and the judge who know what masks and records mean."""
    return Simulated(
        identity="procedural-chests/1",
        thresholds=(0.0, 1.0),
        quality=quality,
        judge="the share of voxels that are as mask and record say",
        deserves_top=deserves_top,
        rubric=RUBRIC,
        criteria=(FOLLOWS, DENSITIES, GRAIN),
        grades=grades,
    )


def begin(ws: Workspace, say: Say, seed: int = 0, size: ChestsSize = ChestsSize()) -> Begun:
    """Make chests with planted effects, and train a generator for a short while."""
    hold_demo(ws, FAMILY, seed=seed)
    base = make_demo(ws, DemoConfig(cases=size.cases, steps=size.steps, seed=seed), say)
    assert base is not None  # some steps are asked for
    first = UNSEEN + 100_000 * seed
    asked, judged = (_prompts(ws, first + part * size.asked, size.asked) for part in (0, 1))
    return Begun(base, asked, judged, guards, shows)


def config(seed: int) -> CircleConfig:
    """Return what takes some minutes: 12 steps, 2 of them trained."""
    return family_circle(FAMILY, seed, SAMPLING, LEARNING, images_per_prompt=12)


def guards(ws: Workspace, made: MadeAlike) -> list[Guard]:
    """Return that the lungs stay in their mask, and that smoking does what it did."""
    before, after = (_overlaps(ws, images) for images in made.sides)
    means, fall = [bootstrap_mean(own) for own in (before, after)], paired_bootstrap(before, after)
    effects = []
    for version_id in (made.base_id, made.last_id):
        both = _smoking(ws, version_id, made)
        effects.append(bootstrap_mean([_in_lungs(pair, prompt) for prompt, pair in both]))
    change = abs(effects[1].value - effects[0].value)
    return [
        Guard(
            f"Dice of the lungs {means[0].value:.3f} to {means[1].value:.3f}, paired "
            f"{fall.value:+.3f} ({fall.low:+.3f} to {fall.high:+.3f})",
            f"falls by at most {MOST_FALL}",
            fall.value >= -MOST_FALL,
        ),
        Guard(
            f"effect of smoking on the lungs {effects[0].value:+.1f} HU to "
            f"{effects[1].value:+.1f} ({effects[1].low:+.1f} to {effects[1].high:+.1f}), planted "
            f"{Planted().smoking:+.0f}",
            f"changes by at most {EFFECT_KEPT:.0%}",
            change <= EFFECT_KEPT * abs(effects[0].value),
        ),
    ]


def shows(ws: Workspace, made: MadeAlike) -> ShownCases:
    """Return some chests of one who never smoked, the same of a smoker, and the change."""
    rows = []
    for number, (_, pair) in enumerate(_smoking(ws, made.last_id, made)[:SHOWN_CASES], 1):
        panels = [*map(seen, pair), signed(*pair, SCALE)]
        rows.append(row(f"Mask {number}: smoking {SMOKING[0]} to {SMOKING[1]}", panels))
    note = (
        f"The same mask and noise, one field changed; slices from the feet up. Blue is less, red "
        f"more; the colours end at {SCALE:.0f} HU. Procedural chests: this says what this "
        "generator does, nothing of patients."
    )
    return ShownCases(note, ("default", "changed", "changed less default"), tuple(rows))


def _prompts(ws: Workspace, first: int, count: int) -> list[Prompt]:
    """Return prompts of chests that no training saw, their records whole."""
    cases = [chest(first + number, missing=0.0) for number in range(count)]
    kept = [(one.content, one.media_type) for one in (encode(case.mask) for case in cases)]
    files = queries.files.add_files(ws.session, ws.store, kept)
    asked = [
        NewPrompt(
            modality="ChestCT",
            text=", ".join(f"{name} {value}" for name, value in case.record.items()),
            record={**case.record, "diagnosis": DIAGNOSES[0]},
            conditions={ROLE: sha256},
        )
        for case, sha256 in zip(cases, files, strict=True)
    ]
    return store_prompts(ws, asked)


def _overlaps(ws: Workspace, images: Sequence[ToJudge]) -> list[float]:
    """Return the lungs' mean Dice of each prompt's images, in the prompts' order."""
    own = dict[str, list[float]]()
    prompts = prompt_values(ws, sorted({image.prompt_id for image in images}))
    for image in images:
        mask = prompts[image.prompt_id].images[ROLE].array[0]
        made = read_sample(ws.store, image.file_sha256).array[0]
        own.setdefault(image.prompt_id, []).append(dice(segmented(made), mask, LUNGS))
    return [float(np.mean(own[prompt_id])) for prompt_id in sorted(own)]


def _smoking(
    ws: Workspace, version_id: str, made: MadeAlike
) -> list[tuple[PromptValue, tuple[Sample, Sample]]]:
    """Return each judged mask with two chests of it: never and current smoker, at equal noise."""
    prompts = list(prompt_values(ws, sorted({i.prompt_id for i in made.sides[0]})).values())
    generator = load_version(ws, version_id)
    never, current = (
        samples_of(
            generator,
            [
                PromptValue(
                    one.modality, one.text, None, {**one.record, "smoking": value}, one.images
                )
                for one in prompts
            ],
            range(len(prompts)),
            SAMPLING,
        )
        for value in SMOKING
    )
    return list(zip(prompts, zip(never, current, strict=True), strict=True))


def _in_lungs(pair: tuple[Sample, Sample], prompt: PromptValue) -> float:
    """Return the mean difference inside the mask's lungs, in HU."""
    lungs = np.isin(prompt.images[ROLE].array[0], LUNGS)
    never, current = (one.array[0].astype(float) for one in pair)
    return float((current - never)[lungs].mean())


DEMO = Demo(FAMILY, begin, config)
