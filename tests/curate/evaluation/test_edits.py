"""Edits measured: read by the renderer's truth, beside rows that must fail, over patients."""

from dataclasses import replace

import numpy as np
import pytest

from curate.errors import CurateError
from curate.evaluation.config import EditsConfig
from curate.evaluation.edit_figures import EditOutcome, figures_of, weighted_figures
from curate.evaluation.edits import AGAIN, COPY, FOLLOW_UP, INVERSION, OURS, SDEDIT, evaluate_edits
from curate.journeys.config import DescribeConfig, JourneyDemo
from curate.journeys.demo import make_demo
from curate.journeys.describe import describe_journeys
from curate.journeys.known import KnownFilm, known_films
from curate.journeys.phantoms import FINDINGS, Patient, patients
from curate.production.versions import save_version
from curate.progress import progress
from curate.workspace import Workspace
from db.models import GeneratorVersion
from generators.beginning import Beginning
from generators.config import SamplingSettings
from generators.families.counterfactual import CounterfactualSettings, create

SIDE = 32


def untrained(ws: Workspace) -> GeneratorVersion:
    folder = ws.folder / "made"
    create(CounterfactualSettings(side=SIDE, width=16), Beginning([])).save(folder)
    return save_version(
        ws, folder, generator_name="edits", family="counterfactual", how_made="imported"
    )


def known(number: int) -> KnownFilm:
    patient = Patient.drawn(number, (2, 4))
    return KnownFilm(patient, patient.visits[0])


def test_the_truth_reads_every_real_film_of_the_demo_right() -> None:
    """A judge that nothing was trained for: all findings of films with grain are read right."""
    right = []
    for number in range(40):
        film = known(number)
        image = film.patient.film(film.visit, SIDE)
        readings = film.reading(image, film.visit.findings)
        right += [
            (r > 0.5) == there for r, there in zip(readings, film.visit.findings, strict=True)
        ]
    assert np.mean(right) == 1.0


def test_a_flip_changes_a_region_and_a_copy_of_the_prior_reads_as_not_flipped() -> None:
    for number in range(10):
        film = known(number)
        before = film.visit.findings
        for place in range(len(FINDINGS)):
            wanted = (*before[:place], not before[place], *before[place + 1 :])
            region = film.region(wanted, SIDE)
            assert 0 < region.mean() < 0.3
            truth = film.shown(wanted, SIDE)
            assert film.reading(truth, wanted)[place] == pytest.approx(float(wanted[place]))
            copied = film.reading(film.patient.film(film.visit, SIDE), wanted)[place]
            assert (copied > 0.5) != wanted[place]


def outcome(patient: int, reading: float, *, wanted: bool, identity: float = 1.0) -> EditOutcome:
    """One flipped finding and one that is untouched, absent and read so."""
    return EditOutcome(
        f"p{patient}", identity, 0.02, 0.9, (reading, 0.1), (wanted, False), (True, False)
    )


def test_figures_are_worked_out_by_hand() -> None:
    good = [outcome(0, 0.9, wanted=True), outcome(1, 0.4, wanted=True)]
    good += [outcome(2, 0.6, wanted=False), outcome(3, 0.2, wanted=False, identity=0.0)]
    found = weighted_figures(good, np.ones(4))
    assert found["auc"] == 0.75  # 0.4 lies below 0.6
    assert (found["hit"], found["kept"], found["identity"]) == (0.5, 1.0, 0.75)
    assert found["composite"] == pytest.approx((0.5 * 0.75) ** 0.5)
    heavier = weighted_figures(good, np.array([1.0, 0.0, 2.0, 1.0]))
    assert (heavier["auc"], heavier["hit"], heavier["identity"]) == (1.0, 0.5, 0.75)
    copied = [replace(one, readings=(1.0 - one.wanted[0], 0.1)) for one in good]
    assert weighted_figures(copied, np.ones(4))["composite"] == 0.0
    blind = [replace(one, readings=(), wanted=(), flipped=()) for one in good]
    none = weighted_figures(blind, np.ones(4))
    assert none["auc"] is none["kl"] is none["hallucination"] is None
    # first finding: wanted in 2 of 4, read in 2 of 4; second: in none; half an image added
    assert found["kl"] == pytest.approx(0)
    more = weighted_figures(good, np.array([3.0, 1.0, 0.0, 0.0]))  # wanted in 4, read in 3 of 4
    p, q = 4.5 / 5, 3.5 / 5
    assert more["kl"] == pytest.approx(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    two_hearts = [replace(one, hallucination=float(n == 0)) for n, one in enumerate(good)]
    assert weighted_figures(two_hearts, np.array([2.0, 1, 1, 1]))["hallucination"] == 0.4


def test_intervals_are_over_patients_not_edits() -> None:
    random = np.random.default_rng(0)
    once = [replace(outcome(n, 0.5, wanted=True), error=random.uniform()) for n in range(20)]
    one, ten = (figures_of(some).values["error"] for some in (once, once * 10))
    assert one is not None and ten is not None and one.num == ten.num == 20
    assert (ten.low, ten.high) == pytest.approx((one.low, one.high))


def test_a_workspace_with_a_demo_is_measured_and_what_must_fail_fails(
    workspace: Workspace,
) -> None:
    make_demo(workspace, JourneyDemo(num_patients=60, side=SIDE))
    describe_journeys(workspace, DescribeConfig(), progress)
    assert len(known_films(workspace)) == sum(len(one.visits) for one in patients(60))
    version = untrained(workspace)
    settings = SamplingSettings(num_steps=2, batch_size=16)
    found = evaluate_edits(workspace, version.id, EditsConfig(num_patients=6), settings)
    assert found.error_of_two_films is not None and 0.01 < found.error_of_two_films < 0.04
    factual, flips = found.figures["factual"], found.figures["true counterfactual"]
    assert {OURS, COPY, AGAIN, SDEDIT, INVERSION} < set(flips) and FOLLOW_UP in factual
    for rows in (factual, flips):
        copied = {name: one.value for name, one in rows[COPY].values.items() if one}
        assert (copied["error"], copied["identity"], copied["hit"]) == (0, 1, 0)
        assert copied["kept"] == 1 and copied["truth_error"] == pytest.approx(1)
        assert copied["hallucination"] == 0 and copied["kl"] > 0
    composite = flips[COPY].values["composite"]
    assert composite is not None and (composite.value, composite.high) == (0, 0)
    copied_again = flips[AGAIN].values["error"]
    assert copied_again is not None and copied_again.value < 1e-6  # pixels: nothing is lost
    assert any("composite" in line for line in found.lines())
    assert found.to_json()["edits"]["true counterfactual"][COPY]["composite"]["value"] == 0


def test_without_journeys_or_without_a_prior_it_says_what_to_do(workspace: Workspace) -> None:
    version = untrained(workspace)
    with pytest.raises(CurateError, match="0 test patients with a journey"):
        evaluate_edits(workspace, version.id, EditsConfig(), SamplingSettings(num_steps=1))
