"""Edits of procedural patients: a young generator learns to show the change that is asked for.

Patients, reports and films are drawn; each prompt flips one finding of a prior whose patient took
no part in training. Raters and judge both know the true answer, and look at it in different ways.
Shapes: H x W pixels.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

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
from curate.evaluation.edit_figures import EditOutcome
from curate.evaluation.edits import EditCase, first_journeys, outcomes_of
from curate.evaluation.intervals import bootstrap_mean, paired_bootstrap
from curate.evaluation.judge import ToJudge
from curate.journeys.config import DescribeConfig, JourneyDemo, RegisterConfig
from curate.journeys.demo import make_demo
from curate.journeys.describe import describe_journeys
from curate.journeys.known import KnownFilm, flipped, known_films
from curate.journeys.phantoms import FINDINGS, Grey
from curate.journeys.register import register_journeys
from curate.loop.config import CircleConfig
from curate.production.config import GeneratorChoice
from curate.production.images import prompt_values
from curate.progress import progress
from curate.rating.edits import FAMILY, ROLE, RUBRIC
from curate.report.shown import ShownCases, row, seen, signed
from curate.samples.formats import read_sample
from curate.simulated import hold_demo
from curate.training.config import FamilyChoice, LessonConfig
from curate.training.train_generator import run_train_generator
from curate.workspace import Workspace
from db.models import Prompt
from db.queries.prompts import NewPrompt
from generators.base import Prompt as PromptValue
from generators.config import SamplingSettings
from generators.families.counterfactual import TRAINING
from generators.sample import Sample
from generators.simulated import Simulated

HELD_OUT = ("val", "test")  # RL on edits of the first, judge and release on those of the second
SHOWS, SAME, REST = "shows-change", "same-patient", "nothing-else-changed"
MISSED = (0.4, 0.7)  # of a finding, 0 .. 1: up to the first it shows, from the second it does not
ALIKE = (0.965, 0.93)  # correlation with the true answer, where nothing was to change
MOVED = (0.036, 0.050)  # mean absolute error there, of 0 .. 1; two films of one day: 0.02
NEAR = 0.038  # what the judge lets pass, mean absolute, of the whole film from the true answer
LEAST_IDENTITY = 0.95
EDITS_A_PATIENT = 2
SHOWN_CASES = 10


@dataclass(frozen=True)
class PatientsSize:
    """How large the demo is."""

    patients: int = 300
    side: int = 32  # pixels
    width: int = 40  # channels of the network's first level
    steps: int = 1000  # of the base's training
    registered: bool = True  # films are laid over their priors


@dataclass(frozen=True)
class EditTruth:
    """What is known of priors, by their bytes."""

    films: Mapping[bytes, KnownFilm]

    def knows(self, prompt: PromptValue) -> bool:
        """Say whether the truth of a prompt is known: whether it has one of the priors."""
        return ROLE in prompt.images and prompt.images[ROLE].array.tobytes() in self.films

    def of(self, prompt: PromptValue) -> tuple[KnownFilm, tuple[bool, ...]]:
        """Return the prior's film and the findings that its edit should have."""
        known = self.films[prompt.images[ROLE].array.tobytes()]
        before = known.visit.findings
        wanted = tuple(
            state ^ (known.change_to(flipped(before, place)) in prompt.text)
            for place, state in enumerate(before)
        )
        return known, wanted

    def grades(self, sample: Sample, prompt: PromptValue) -> dict[str, float]:
        """Return each criterion's quality in grades, for the simulated raters; NaN: unknown."""
        if not self.knows(prompt):
            return dict.fromkeys((SHOWS, SAME, REST), math.nan)
        known, wanted = self.of(prompt)
        image, side = _grey(sample), sample.array.shape[-1]
        readings = known.reading(image, wanted)
        missed = max(
            abs(reading - is_wanted)
            for reading, is_wanted, was in zip(readings, wanted, known.visit.findings, strict=True)
            if is_wanted != was
        )
        rest = ~known.region(wanted, side)
        truth = known.shown(wanted, side)
        alike = float(np.corrcoef(image[rest], truth[rest])[0, 1])
        moved = float(np.abs(image - _grey(prompt.images[ROLE]))[rest].mean())
        return {
            SHOWS: grade(missed, *MISSED),
            SAME: grade(alike, *ALIKE),
            REST: grade(moved, *MOVED),
        }

    def quality(self, sample: Sample, prompt: PromptValue) -> float:
        """Return the weakest criterion's quality."""
        return min(self.grades(sample, prompt).values())

    def deserves_top(self, sample: Sample, prompt: PromptValue) -> bool | None:
        """Say what the judge says: of all that could be found here, it shows what was asked for.

        It asks which of the renderings with and without each finding is nearest, at whatever
        exposure, and whether the film is near the true answer as a whole.
        """
        if not self.knows(prompt):
            return None
        known, wanted = self.of(prompt)
        image, side = _grey(sample), sample.array.shape[-1]
        others = [flipped(wanted, place) for place in range(len(FINDINGS))]
        far = [_far(image, known.shown(each, side)) for each in (wanted, *others)]
        error = float(np.abs(image - known.shown(wanted, side)).mean())
        return int(np.argmin(far)) == 0 and error <= NEAR


def simulated(ws: Workspace) -> Simulated:
    """Return the raters and the judge who know the truth of this workspace's patients."""
    truth = truth_of(ws)
    return Simulated(
        identity="procedural-patients/1",
        thresholds=(0.0, 1.0),
        quality=truth.quality,
        judge="nearest of all possible findings, by the procedural truth",
        deserves_top=truth.deserves_top,
        rubric=RUBRIC,
        criteria=(SHOWS, SAME, REST),
        grades=truth.grades,
    )


def begin(ws: Workspace, say: Say, seed: int = 0, size: PatientsSize = PatientsSize()) -> Begun:
    """Draw the patients, pair their films, and train a generator for a short while."""
    drawn = make_demo(ws, JourneyDemo(num_patients=size.patients, side=size.side, seed=seed))
    say(drawn.lines()[0])
    describe_journeys(ws, DescribeConfig(), progress)
    registered = register_journeys(
        ws, RegisterConfig(strangers=0, skip=not size.registered), progress
    )
    say(f"{registered.kept} pairs of a prior and a later film")
    settings = (f"side={size.side}", f"width={size.width}")
    base = run_train_generator(
        ws,
        replace(TRAINING, num_steps=size.steps, seed=seed, warmup_steps=min(50, size.steps // 4)),
        LessonConfig(real=False, journeys=True, num_samples=0),
        choice=GeneratorChoice(),
        family=FamilyChoice(family=FAMILY, settings=settings),
        replay_prompts=None,
        say=say,
    )
    assert base is not None  # one process trains
    hold_demo(ws, FAMILY, seed=seed)
    asked = [_prompts(ws, split) for split in HELD_OUT]
    return Begun(base, asked[0], asked[1], guards, shows)


def config(seed: int) -> CircleConfig:
    """Return what takes some minutes: 12 steps, 2 of them trained, no guidance."""
    sampling = SamplingSettings(num_steps=12, batch_size=32)
    learning = replace(LEARNING, num_updates=16, check_every=4)
    return family_circle(FAMILY, seed, sampling, learning, images_per_prompt=10)


def guards(ws: Workspace, made: MadeAlike) -> list[Guard]:
    """Return that it is still the same patient, and that the rest changes no more than before."""
    before, after = (_outcomes(ws, images) for images in made.sides)
    same = [bootstrap_mean(_by_patient(own, "identity")) for own in (before, after)]
    moved = [bootstrap_mean(_by_patient(own, "error")) for own in (before, after)]
    change = paired_bootstrap(_by_patient(before, "error"), _by_patient(after, "error"))
    return [
        Guard(
            f"identity of {same[1].num} patients {same[0].value:.3f} to {same[1].value:.3f} "
            f"({same[1].low:.3f} to {same[1].high:.3f})",
            f"at least {LEAST_IDENTITY}",
            same[1].value >= LEAST_IDENTITY,
        ),
        Guard(
            f"error where nothing was to change {moved[0].value:.4f} to {moved[1].value:.4f}, "
            f"paired {change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f})",
            "does not rise",
            change.value <= 0,
        ),
    ]


def shows(ws: Workspace, made: MadeAlike) -> ShownCases:
    """Return some patients' prior, result and true answer."""
    truth, rows = truth_of(ws), []
    first = made.first_of_each(SHOWN_CASES)
    for prompt_id, prompt in prompt_values(ws, list(first)).items():
        result, prior = read_sample(ws.store, first[prompt_id].file_sha256), prompt.images[ROLE]
        known, wanted = truth.of(prompt)
        true = Sample(known.shown(wanted, result.array.shape[-1])[None].astype(np.float32))
        panels = [seen(prior), seen(result), seen(true), signed(prior, result, 128)]
        rows.append(row(prompt.text, panels))
    note = (
        "One patient a row, the first image of each, not picked: the prior as it was taken, what "
        "the version made of it, the true answer without grain, and result less prior (red: "
        "brighter). Procedural patients: the true answer is drawn, nobody was examined."
    )
    return ShownCases(note, ("prior", "result", "truth", "result less prior"), tuple(rows))


def truth_of(ws: Workspace) -> EditTruth:
    """Return what is known of the held-out patients' first films."""
    films = known_films(ws)
    priors = [pair.prior for split in HELD_OUT for pair in first_journeys(ws, split)]
    return EditTruth(
        {
            read_sample(ws.store, prior.file_sha256).array.tobytes(): films[prior.source_path or ""]
            for prior in priors
        }
    )


def _prompts(ws: Workspace, split: str) -> list[Prompt]:
    """Return edits of each patient of a split; the findings take turns."""
    films, asked = known_films(ws), []
    for number, pair in enumerate(first_journeys(ws, split)):
        known = films[pair.prior.source_path or ""]
        for turn in range(EDITS_A_PATIENT):
            place = (EDITS_A_PATIENT * number + turn) % len(FINDINGS)
            text = known.change_to(flipped(known.visit.findings, place))
            given = {ROLE: pair.prior.file_sha256}, {ROLE: pair.prior.id}
            asked.append(
                NewPrompt(modality=pair.modality, text=text, conditions=given[0], images=given[1])
            )
    return store_prompts(ws, asked)


def _outcomes(ws: Workspace, images: Sequence[ToJudge]) -> list[EditOutcome]:
    """Return what each edit is worth, beside its own prior and among all patients'."""
    truth = truth_of(ws)
    prompts = prompt_values(ws, sorted({image.prompt_id for image in images}))
    cases = []
    for image in images:
        prompt = prompts[image.prompt_id]
        known, wanted = truth.of(prompt)
        cases.append(
            EditCase(
                patient=str(known.patient.number),
                is_factual=False,
                prior=prompt.images[ROLE],
                text=prompt.text,
                result="",
                modality=prompt.modality,
                wanted=wanted,
                known=known,
            )
        )
    return outcomes_of(cases, [_grey(read_sample(ws.store, one.file_sha256)) for one in images])


def _by_patient(outcomes: Sequence[EditOutcome], figure: str) -> list[float]:
    """Return a figure's mean of each patient, the patients in order."""
    own: dict[str, list[float]] = defaultdict(list)
    for outcome in outcomes:
        own[outcome.patient].append(getattr(outcome, figure))
    return [float(np.mean(own[patient])) for patient in sorted(own)]


def _grey(sample: Sample) -> Grey:
    """Return a grey picture [H, W] in 0 .. 1."""
    grey: Grey = sample.array[0] / 255.0
    return grey


def _far(image: Grey, truth: Grey) -> float:
    """Return the squared error from a rendering at the exposure that suits best."""
    exposed = np.stack([truth.ravel(), np.ones(truth.size)], axis=1)
    (gain, offset), *_ = np.linalg.lstsq(exposed, image.ravel(), rcond=None)
    return float(np.square(image - gain * truth - offset).mean())


DEMO = Demo(FAMILY, begin, config)
