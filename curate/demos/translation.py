"""Made-up heads: a young translator of PD, T2 and inverted slices to T1 learns what is a good one.

It is trained on T1 alone. Raters and judge both know the head behind each source, and look at it
in different ways: the raters at edges, levels and noise, the judge at what a segmenter makes of it.
Shapes: N heads, T tissues, H x W pixels.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

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
from curate.importing.config import ImportConfig
from curate.importing.real_images import import_table
from curate.loop.config import CircleConfig
from curate.production.config import GeneratorChoice
from curate.production.images import prompt_values
from curate.report.shown import ShownCases, row, seen, signed
from curate.samples.formats import PNG, read_sample
from curate.samples.pixels import png_bytes
from curate.simulated import held_demo, hold_demo
from curate.training.config import FamilyChoice, LessonConfig
from curate.training.train_generator import run_train_generator
from curate.translation import scores
from curate.translation.heads import LOOKUPS, TISSUES, MadeUpHeads
from curate.translation.versions import FAMILY
from curate.workspace import Workspace
from db import queries
from db.models import Prompt
from db.queries.prompts import NewPrompt
from generators.base import Prompt as PromptValue
from generators.config import SamplingSettings
from generators.families.translation import SOURCE, TRAINING
from generators.sample import Sample
from generators.simulated import Simulated

TARGET = "T1"
SOURCES = ("PD", "T2", "inverted")
RUBRIC = Path(__file__).parent / "translations.toml"
# so lenient that about half of what the base makes passes each: it is a very young translator
ANATOMY, CONTRAST, CLEAN = "same-anatomy", "right-contrast", "clean"
ALIKE = (0.62, 0.50)  # correlation of the edges with the true target's
LEVELS = (0.15, 0.19)  # mean distance of a tissue's mean from its level in the target, of 0 .. 1
NOISE = (0.10, 0.125)  # mean standard deviation within a tissue
LEAST_DICE = 0.50  # of grey and white matter, which the judge's segmenter finds
JUDGED_TISSUES = ("grey", "white")
DEEP = 0.95  # share of a tissue in a pixel that is of it alone
SHOWN_CASES = 9
Grey = NDArray[np.float64]


@dataclass(frozen=True)
class HeadsSize:
    """How large the demo is."""

    learned: int = 400  # T1 slices, each of a head of its own
    side: int = 24  # pixels
    channels: str = "24,48"
    steps: int = 400  # of the base's training
    asked: int = 24  # slices translated in the loop, and as many by the judge


@dataclass(frozen=True)
class Head:
    """What is known of a source: its tissues, and the slice in the target modality."""

    shares: NDArray[np.float32]  # [T, H, W]
    target: Grey


@dataclass(frozen=True)
class HeadTruth:
    """The heads behind sources, by the sources' bytes."""

    heads: Mapping[bytes, Head]

    def of(self, prompt: PromptValue) -> Head | None:
        """Return the head behind a prompt's source, if it is known."""
        source = prompt.images.get(SOURCE)
        return None if source is None else self.heads.get(source.array.tobytes())

    def grades(self, sample: Sample, prompt: PromptValue) -> dict[str, float]:
        """Return each criterion's quality in grades, for the simulated raters; NaN: unknown."""
        head = self.of(prompt)
        if head is None:
            return dict.fromkeys((ANATOMY, CONTRAST, CLEAN), math.nan)
        image = _grey(sample)
        edges = [np.hypot(*np.gradient(each)).ravel() for each in (image, head.target)]
        off, spread = [], []
        for tissue, level in enumerate(LOOKUPS[TARGET]):
            inside = image[head.shares[tissue] > DEEP]
            if len(inside) > 1:
                off.append(abs(float(inside.mean()) - level))
                spread.append(float(inside.std()))
        return {
            ANATOMY: grade(float(np.corrcoef(*edges)[0, 1]), *ALIKE),
            CONTRAST: grade(float(np.mean(off)), *LEVELS),
            CLEAN: grade(float(np.mean(spread)), *NOISE),
        }

    def quality(self, sample: Sample, prompt: PromptValue) -> float:
        """Return the weakest criterion's quality."""
        return min(self.grades(sample, prompt).values())

    def deserves_top(self, sample: Sample, prompt: PromptValue) -> bool | None:
        """Say what the judge says: a segmenter of T1 finds grey and white matter where they are."""
        head = self.of(prompt)
        return None if head is None else overlap(_grey(sample), head) >= LEAST_DICE


def overlap(image: Grey, head: Head) -> float:
    """Return the mean Dice of grey and white matter, each pixel of the tissue nearest in level."""
    levels = np.asarray(LOOKUPS[TARGET])
    found = np.abs(image[None] - levels[:, None, None]).argmin(0)
    here, there = (torch.from_numpy(each)[None] for each in (found, head.shares.argmax(0)))
    places = [TISSUES.index(name) for name in JUDGED_TISSUES]
    return float(np.mean([scores.dice(here, there, place).item() for place in places]))


def simulated(ws: Workspace) -> Simulated:
    """Return the raters and the judge who know the heads behind this workspace's sources."""
    truth = truth_of(ws)
    return Simulated(
        identity="procedural-heads/1",
        thresholds=(0.0, 1.0),
        quality=truth.quality,
        judge="a segmenter of T1, held against the procedural truth",
        deserves_top=truth.deserves_top,
        rubric=RUBRIC,
        criteria=(ANATOMY, CONTRAST, CLEAN),
        grades=truth.grades,
    )


def begin(ws: Workspace, say: Say, seed: int = 0, size: HeadsSize = HeadsSize()) -> Begun:
    """Draw heads, import their T1 slices alone, and train a translator for a short while."""
    hold_demo(ws, FAMILY, seed=seed, side=size.side, asked=size.asked)
    table = _write_targets(ws.folder / "heads-demo", seed, size)
    done = import_table(ws, table, ImportConfig(new_modalities=(TARGET,)))
    say(f"{done.imported} T1 slices of made-up heads imported; no other modality is learned")
    settings = (f"size={size.side}", "shows=contrast", f"channels={size.channels}")
    base = run_train_generator(
        ws,
        replace(TRAINING, num_steps=size.steps, seed=seed),
        LessonConfig(modalities=(TARGET,), num_samples=0, validation_share=0.05),
        choice=GeneratorChoice(),
        family=FamilyChoice(family=FAMILY, settings=settings),
        replay_prompts=None,
        say=say,
    )
    assert base is not None  # one process trains
    asked, judged = (_prompts(ws, part) for part in _sources(ws))
    return Begun(base, asked, judged, guards, shows)


def config(seed: int) -> CircleConfig:
    """Return what takes some minutes: 10 steps, 2 of them trained."""
    sampling = SamplingSettings(num_steps=10, batch_size=32)
    return family_circle(FAMILY, seed, sampling, LEARNING, images_per_prompt=8)


def guards(ws: Workspace, made: MadeAlike) -> list[Guard]:
    """Return that the similarity to the true target does not fall."""
    before, after = (_similarities(ws, images) for images in made.sides)
    means, change = (
        [bootstrap_mean(own) for own in (before, after)],
        paired_bootstrap(before, after),
    )
    return [
        Guard(
            f"SSIM to the true target {means[0].value:.3f} to {means[1].value:.3f}, paired "
            f"{change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f})",
            "does not fall",
            change.value >= 0,
        )
    ]


def shows(ws: Workspace, made: MadeAlike) -> ShownCases:
    """Return some slices' source, result, true target and difference."""
    truth, rows = truth_of(ws), []
    first = made.first_of_each(SHOWN_CASES)
    for prompt_id, prompt in prompt_values(ws, list(first)).items():
        result, head = read_sample(ws.store, first[prompt_id].file_sha256), truth.of(prompt)
        assert head is not None  # a prompt of this demo
        target = Sample(np.rint(head.target * 255).astype(np.uint8)[None])
        panels = [prompt.images[SOURCE], result, target]
        rows.append(row(prompt.text, [*map(seen, panels), signed(target, result, 128)]))
    note = (
        "One head a row, the first image of each, not picked; result less target: red is brighter. "
        "Made-up heads: nobody was examined."
    )
    return ShownCases(note, ("source", "result", "target", "result less target"), tuple(rows))


def _write_targets(folder: Path, seed: int, size: HeadsSize) -> Path:
    """Write the T1 slices and their table; return the table."""
    folder.mkdir(parents=True, exist_ok=True)
    heads = MadeUpHeads.made_up(size.learned, size.side, seed=1000 * seed)
    rows = []
    for number, pixels in enumerate(heads.pictures(LOOKUPS[TARGET], seed=seed)):
        name = f"{TARGET}-{number}.png"
        (folder / name).write_bytes(png_bytes(_levels(pixels)))
        rows.append({"path": name, "Text": TARGET, "modality": TARGET, "patient": f"head-{number}"})
    with (folder / "data.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "data.csv"


def _sources(ws: Workspace) -> list[list[tuple[str, NDArray[np.uint8], Head]]]:
    """Return (modality, source, head) of the loop's heads and of the judge's, never learned."""
    held, parts = held_demo(ws), []
    for part in (1, 2):
        seed = 1000 * held["seed"] + part
        heads = MadeUpHeads.made_up(held["asked"], held["side"], seed=seed)
        target = heads.pictures(LOOKUPS[TARGET], seed=seed)
        shown = {name: heads.pictures(LOOKUPS[name], seed=seed + 1) for name in SOURCES}
        parts.append(
            [
                (
                    SOURCES[number % len(SOURCES)],
                    _levels(shown[SOURCES[number % len(SOURCES)]][number]),
                    Head(heads.shares[number], target[number].astype(np.float64)),
                )
                for number in range(len(heads))
            ]
        )
    return parts


def truth_of(ws: Workspace) -> HeadTruth:
    """Return what is known of all sources of this workspace's demo."""
    return HeadTruth({source.tobytes(): head for part in _sources(ws) for _, source, head in part})


def _prompts(ws: Workspace, part: Sequence[tuple[str, NDArray[np.uint8], Head]]) -> list[Prompt]:
    """Keep the sources, and return their prompts."""
    kept = [(png_bytes(source), PNG) for _, source, _ in part]
    files = queries.files.add_files(ws.session, ws.store, kept)
    return store_prompts(
        ws,
        [
            NewPrompt(modality=TARGET, text=f"{name} to {TARGET}", conditions={SOURCE: sha256})
            for (name, _, _), sha256 in zip(part, files, strict=True)
        ],
    )


def _similarities(ws: Workspace, images: Sequence[ToJudge]) -> list[float]:
    """Return the mean SSIM to the true target of each prompt's images, in the prompts' order."""
    truth, own = truth_of(ws), dict[str, list[float]]()
    prompts = prompt_values(ws, sorted({image.prompt_id for image in images}))
    for image in images:
        head = truth.of(prompts[image.prompt_id])
        assert head is not None  # a prompt of this demo
        both = (_grey(read_sample(ws.store, image.file_sha256)), head.target)
        alike = scores.ssim(*(torch.from_numpy(each)[None] for each in both)).item()
        own.setdefault(image.prompt_id, []).append(alike)
    return [float(np.mean(own[prompt_id])) for prompt_id in sorted(own)]


def _levels(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    levels: NDArray[np.uint8] = np.rint(pixels * 255).astype(np.uint8)
    return levels


def _grey(sample: Sample) -> Grey:
    """Return a grey picture [H, W] in 0 .. 1."""
    grey: Grey = sample.array[0] / 255.0
    return grey


DEMO = Demo(FAMILY, begin, config)
