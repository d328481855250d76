"""Edits measured: is the change there, is the rest as it was, is it the same patient?

Factual edits follow a journey and are compared with the real follow-up. True counterfactuals flip
one finding against the journey; they are measured where the truth is known, on procedural patients.
Intervals are over patients. Shapes: N edits, P patients, H x W pixels.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curate.errors import CurateError
from curate.evaluation.config import EditsConfig
from curate.evaluation.diversity import ssim_parts
from curate.evaluation.edit_figures import (
    COLUMNS,
    EditFigures,
    EditOutcome,
    figures_of,
    table_lines,
)
from curate.evaluation.edit_judges import (
    NOT_NAMED,
    ImagesToJudge,
    JudgedEdits,
    OwnJudges,
    judged_edits,
    own_judges,
)
from curate.journeys.describe import statements_of_study
from curate.journeys.findings import Statements
from curate.journeys.known import KnownFilm, flipped, known_films
from curate.journeys.organs import EXPECTED, organs_in
from curate.journeys.phantoms import FINDINGS
from curate.production.images import samples_of
from curate.production.versions import load_version, version_to_use
from curate.samples.formats import read_sample
from curate.samples.renderings import rgb
from curate.workspace import Workspace
from db import queries
from db.queries.journeys import Pair
from generators.base import Prompt, Trajectory, require_trajectory
from generators.config import SamplingSettings
from generators.framing import picture_in
from generators.sample import Sample
from generators.seeds import hashed_seed

Grey = NDArray[np.float64]
OURS, COPY, AGAIN, FOLLOW_UP = "edits", "copy of the prior", "prior re-encoded", "real follow-up"
ALONE, SDEDIT, INVERSION = "new sample, no prior", "SDEdit", "DDPM inversion"
REAL = "real films, as imported"  # the judges' own accuracy
MOST_REAL = 500  # of those films
STRENGTHS = {SDEDIT: 0.6, INVERSION: 0.64}  # where the settings name none


@dataclass(frozen=True)
class EditCase:
    """One edit that is asked for, with what is known of it."""

    patient: str
    is_factual: bool
    prior: Sample
    text: str  # what changed
    result: str  # what the result shows, for those that do not read the prior
    modality: str
    wanted: tuple[bool, ...] = ()  # findings of the result, where they are known
    known: KnownFilm | None = None  # of the prior
    after: Sample | None = None  # the real follow-up, laid over the prior
    said: Statements = field(default_factory=dict)  # of the follow-up's findings

    def prompt(self, *, described: bool = False, with_prior: bool = True) -> Prompt:
        """Return it as a generator takes it: the change, or the result `described` whole."""
        images = {"prior": self.prior} if with_prior else {}
        return Prompt(self.modality, self.result if described else self.text, images=images)


@dataclass(frozen=True)
class MeasuredEdits:
    """A version's edits beside what must be worse, and beside two real films."""

    version_id: str
    num_patients: int
    error_of_two_films: float | None  # outside the change, by a second film of the prior's day
    figures: dict[str, dict[str, EditFigures]]  # by kind of edit and by row
    judged: JudgedEdits | None = None  # by the user's own judges

    @property
    def judge(self) -> str:
        """Say who read the findings."""
        if self.error_of_two_films is None:
            return "no independent judge: findings are not measured"
        return "findings are read by the procedural renderer's own truth; no network judges"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        rows = {
            kind: {name: figures.to_json() for name, figures in of_kind.items()}
            for kind, of_kind in self.figures.items()
        }
        return {
            "version": self.version_id,
            "patients": self.num_patients,
            "judge": self.judge,
            "error_of_two_films": self.error_of_two_films,
            "edits": rows,
            "own_judges": self.judged and self.judged.to_json(),
        }

    def lines(self) -> list[str]:
        """Return a table for each kind of edit, and what its columns mean."""
        lines = [
            f"Edits by version {self.version_id[:12]}; intervals: 95 %, over "
            f"{self.num_patients} patients; {self.judge}."
        ]
        for kind, rows in self.figures.items():
            lines += ["", kind, *table_lines(COLUMNS, rows)]
        lines += [
            "",
            "composite = sqrt(max(2 AUC - 1, 0) x identity): 0 for a copy of the prior",
            "error, SSIM: against the prior, where nothing was to change"
            + (
                f"; two films of one day differ by {self.error_of_two_films:.4f}"
                if self.error_of_two_films is not None
                else " (unknown here: everywhere)"
            ),
            "truth error: where something was to change, 1 is that of copying the prior",
            "hallucination: share with a wrong number of lungs or hearts; KL: of the findings read "
            "from those that were wanted, in nats (both on procedural films only)",
            *(self.judged.lines() if self.judged else [NOT_NAMED]),
        ]
        return lines


def evaluate_edits(
    ws: Workspace, version: str | None, config: EditsConfig, settings: SamplingSettings
) -> MeasuredEdits:
    """Make edits of test patients' priors, and those of the baselines, and measure all alike."""
    chosen = version_to_use(ws, version)
    generator = require_trajectory(load_version(ws, chosen.id))
    if "prior" not in getattr(generator, "reads", ()):
        raise CurateError(
            f"Version {chosen.id[:12]} is of family {generator.family!r}, which reads no prior. "
            "Name one of family counterfactual with --version."
        )
    judges = own_judges(config)  # first: what cannot be opened is told before minutes of work
    cases, judged = _cases(ws, config), None
    figures: dict[str, dict[str, EditFigures]] = {}
    for kind, is_factual in (("factual", True), ("true counterfactual", False)):
        of_kind = [case for case in cases if case.is_factual == is_factual]
        if of_kind:
            made = _made(generator, of_kind, settings)
            figures[kind] = {
                name: figures_of(outcomes_of(of_kind, images)) for name, images in made.items()
            }
            if judges is not None and is_factual:
                judged = _judged(ws, judges, of_kind, made)
    side = generator.output.shape[-1]
    twice = [
        float(np.abs(case.known.taken_again(side) - _grey(generator, case.prior)).mean())
        for case in cases
        if case.known is not None and case.is_factual
    ]
    num_patients = len({case.patient for case in cases})
    error = float(np.mean(twice)) if twice else None
    return MeasuredEdits(chosen.id, num_patients, error, figures, judged)


def _cases(ws: Workspace, config: EditsConfig) -> list[EditCase]:
    """Return a changed journey of each test patient, and flips of one finding where truth is known.

    Test patients have taken part in no training.
    """
    films = known_films(ws)
    one_each = first_journeys(ws, "test")
    if len(one_each) < 2:
        raise CurateError(
            f"{len(one_each)} test patients with a journey on which something changed; 2 are "
            "needed. Import more, or run `curate journeys describe` and `register`."
        )
    cases = []
    ids = [pair.new.prompt_id for pair in one_each]
    captions = queries.prompts.prompts_by_id(ws.session, ids)
    for pair in one_each[: config.num_patients]:
        known = films.get(pair.prior.source_path or "")
        after = films.get(pair.new.source_path or "")
        case = EditCase(
            patient=pair.journey.patient,
            is_factual=True,
            prior=read_sample(ws.store, pair.prior.file_sha256),
            text=pair.journey.text or "",
            result=captions[pair.new.prompt_id].text,
            modality=pair.modality,
            wanted=after.visit.findings if after else (),
            known=known if after else None,
            after=read_sample(ws.store, pair.journey.registered_sha256 or pair.new.file_sha256),
            said=statements_of_study(pair.after),
        )
        cases.append(case)
        if case.known is not None:
            cases += _flips(case, case.known, case.wanted, config.num_flips)
    return cases


def first_journeys(ws: Workspace, split: str) -> list[Pair]:
    """Return each patient's first journey on which something changed, of a split."""
    one_each: dict[str, Pair] = {}
    for pair in queries.journeys.journeys(ws.session, split=split, kept=True, described=True):
        if not pair.journey.unchanged:
            one_each.setdefault(pair.journey.patient, pair)
    return list(one_each.values())


def _flips(
    case: EditCase, known: KnownFilm, journey: tuple[bool, ...], count: int
) -> list[EditCase]:
    """Return edits that flip one finding which the journey left as it was."""
    before = known.visit.findings
    same = [place for place in range(len(FINDINGS)) if journey[place] == before[place]]
    chance = random.Random(f"flips {case.patient}")
    flips = []
    for place in chance.sample(same, min(count, len(same))):
        wanted = flipped(before, place)
        text, result = known.change_to(wanted), known.report(wanted).rpartition("\n")[2]
        flips.append(
            replace(case, is_factual=False, text=text, result=result, wanted=wanted, after=None)
        )
    return flips


def _made(
    generator: Trajectory, cases: Sequence[EditCase], settings: SamplingSettings
) -> dict[str, list[Grey]]:
    """Return what stands in each row of the table, in the order of the cases."""
    seeds = [hashed_seed(f"edit {case.patient} {place}") for place, case in enumerate(cases)]
    plain = replace(settings, strength=1.0)
    asked = {
        OURS: (plain, [case.prompt() for case in cases]),
        ALONE: (
            replace(plain, image_guidance=None),
            [case.prompt(described=True, with_prior=False) for case in cases],
        ),
    }
    for name, method in ((SDEDIT, "sdedit"), (INVERSION, "inversion")):
        strength = settings.strength if settings.strength < 1 else STRENGTHS[name]
        own = replace(plain, method=method, strength=strength, image_guidance=None)
        asked[name] = (own, [case.prompt(described=True) for case in cases])
    priors = [_grey(generator, case.prior) for case in cases]
    made = {OURS: list[Grey]()}
    if all(case.after is not None for case in cases):
        made[FOLLOW_UP] = [_grey(generator, case.after) for case in cases if case.after]
    made[COPY] = priors
    made[AGAIN] = [_re_encoded(generator, case.prior) for case in cases]
    for name, (how, prompts) in asked.items():
        found = samples_of(generator, prompts, seeds, how)
        made[name] = [_grey(generator, sample) for sample in found]
    return made


def _judged(
    ws: Workspace, judges: OwnJudges, cases: Sequence[EditCase], made: dict[str, list[Grey]]
) -> JudgedEdits:
    """Return what own judges read of every row, and of the patients' real films as imported."""
    patients, said = [case.patient for case in cases], [case.said for case in cases]
    rows = {name: ImagesToJudge(images, patients, said) for name, images in made.items()}
    films = {}
    for pair in queries.journeys.journeys(ws.session, split="test"):
        for image, study in ((pair.prior, pair.before), (pair.new, pair.after)):
            if pair.journey.patient in patients:
                films[image.file_sha256] = study
    some = list(films.items())[:MOST_REAL]
    rows[REAL] = ImagesToJudge(
        [rgb(read_sample(ws.store, sha256)).mean(0).double().numpy() for sha256, _ in some],
        [study.patient for _, study in some],
        [statements_of_study(study) for _, study in some],
    )
    return judged_edits(judges, rows, FOLLOW_UP)


def _grey(generator: Trajectory, sample: Sample) -> Grey:
    """Return a picture [H, W] in 0 .. 1, as large as the generator makes them."""
    image = picture_in(sample, generator.output.shape, "prior")
    grey: Grey = image.mean(0).double().numpy()
    return grey


@torch.no_grad()
def _re_encoded(generator: Trajectory, prior: Sample) -> Grey:
    """Return a prior after the way into latents and back, which alone softens a film."""
    values = generator.codec.from_unit(picture_in(prior, generator.output.shape, "prior"))[None]
    image = generator.codec.to_values(generator.codec.decode(generator.codec.encode(values)))
    grey: Grey = image[0].mean(0).double().numpy()
    return grey


def outcomes_of(cases: Sequence[EditCase], images: Sequence[Grey]) -> list[EditOutcome]:
    """Return what each image is worth, beside its own prior and among all patients'."""
    side = len(images[0])
    priors: dict[str, Grey] = {}
    for case in cases:
        framed = picture_in(case.prior, (1, side, images[0].shape[1]), "prior")
        priors.setdefault(case.patient, framed[0].double().numpy())
    names = list(priors)
    unit_PD = np.stack([_centred(priors[name]) for name in names])
    found = []
    for case, image in zip(cases, images, strict=True):
        prior = priors[case.patient]
        nearest = names[int(np.argmax(unit_PD @ _centred(image)))]
        changed = np.zeros(image.shape, bool)
        if case.known is not None:
            changed = case.known.region(case.wanted, side)
        put_back = np.where(changed, prior, image)
        both = [
            torch.from_numpy(np.ascontiguousarray(one))[None, None] for one in (put_back, prior)
        ]
        outcome = EditOutcome(
            patient=case.patient,
            identity=float(nearest == case.patient),
            error=float(np.abs(image - prior)[~changed].mean()),
            ssim=float(ssim_parts(*both)[0]),
        )
        if case.known is not None:
            before, truth = case.known.visit.findings, case.known.shown(case.wanted, side)
            copied = float(np.abs(prior - truth)[changed].mean())
            outcome = replace(
                outcome,
                readings=tuple(case.known.reading(image, case.wanted)),
                wanted=case.wanted,
                flipped=tuple(a != b for a, b in zip(before, case.wanted, strict=True)),
                truth_error=float(np.abs(image - truth)[changed].mean()) / copied,
                hallucination=float(organs_in(image) != EXPECTED),
            )
        found.append(outcome)
    return found


def _centred(image: Grey) -> Grey:
    """Return an image as a unit vector without its mean: two of them multiply to a correlation."""
    values = image.ravel() - image.mean()
    unit: Grey = values / max(float(np.linalg.norm(values)), 1e-12)
    return unit
