"""Films laid over each other: known moves are found again, and nothing lies worse than before."""

import numpy as np
import pytest

pytest.importorskip("SimpleITK")

from curate.journeys.config import JourneyDemo, RegisterConfig
from curate.journeys.demo import make_demo
from curate.journeys.geometry import _correlation, _masked_shift, field_of, register
from curate.journeys.phantoms import _moved_by, draw, patients
from curate.journeys.register import _laid_over, register_journeys
from curate.progress import progress
from curate.samples.formats import read_sample
from curate.workspace import Workspace
from db import queries


def film(number: int, side: int = 256) -> np.ndarray:
    [patient] = patients(1, seed=number)
    drawn, _ = draw(patient.number, patient.anatomy, patient.visits[0].findings, side)
    return drawn.astype(np.float32)


def test_known_moves_are_found_again_within_a_pixel_and_a_degree() -> None:
    random = np.random.default_rng(1)
    hits = []
    for number in range(8):
        prior = film(number)
        shift, degrees = random.uniform(-8, 8, 2), random.uniform(-5, 5)
        moved = _moved_by(prior, tuple(shift), degrees) * random.uniform(0.8, 1.1)
        new = (moved + random.normal(0, 0.013, moved.shape)).clip(0, 1).astype(np.float32)
        found = register(prior, new)
        off = np.abs([found.move.down - shift[0], found.move.right - shift[1]]).max()
        hits.append(off < 1 and abs(found.move.degrees - degrees) < 1)
        assert found.ncc >= found.ncc_before
    assert np.mean(hits) >= 0.95


def test_the_shift_is_that_of_a_search_over_all_shifts() -> None:
    random = np.random.default_rng(2)
    fixed = random.random((12, 10)).astype(np.float32)
    moving = np.roll(fixed, (2, -1), (0, 1)) + 0.05 * random.random((12, 10)).astype(np.float32)
    everywhere = np.ones(fixed.shape, bool)
    best = (-2.0, (0, 0))
    for down in range(-5, 6):
        for right in range(-4, 5):
            rows, columns = (
                slice(max(0, -down), 12 - max(0, down)),
                slice(max(0, -right), 10 - max(0, right)),
            )
            there = (
                slice(rows.start + down, rows.stop + down),
                slice(columns.start + right, columns.stop + right),
            )
            if fixed[rows, columns].size >= 0.3 * fixed.size:
                a, b = fixed[rows, columns].ravel(), moving[there].ravel()
                best = max(best, (float(np.corrcoef(a, b)[0, 1]), (down, right)))
    assert best[1] == (2, -1)
    assert _masked_shift(fixed, moving, everywhere, everywhere) == best[1]


def test_a_film_without_data_is_filled_from_the_prior_and_never_black() -> None:
    prior = film(3, 64)
    new = _moved_by(prior, (8.0, 0.0), 0.0).astype(np.float32)
    new[: len(new) // 3] = 0  # cut off
    found = register(prior, new)
    result = _laid_over(prior, 0.6 * new, found.move)
    inside = field_of(prior)
    cut_off = inside[:16] & (prior[:16] > 0.1)
    assert cut_off.sum() > 100 and result[:16][cut_off].min() > 0.05
    assert _correlation(result, prior, inside) > 0.95
    assert result[inside].mean() == pytest.approx(prior[inside].mean(), abs=0.01)


def test_pairs_are_registered_once_and_bad_ones_are_named(workspace: Workspace) -> None:
    made = make_demo(workspace, JourneyDemo(num_patients=5, side=32))
    before = {row.id: row.file_sha256 for row, _ in queries.images.images(workspace.session)}
    found = register_journeys(workspace, RegisterConfig(strangers=3), progress)
    assert found.kept == made.imported.num_journeys and len(found.strangers) == 3
    pairs = queries.journeys.journeys(workspace.session, kept=True)
    for pair in pairs:
        assert pair.journey.transform is not None and pair.journey.ncc is not None
        assert pair.journey.ncc >= pair.journey.transform["ncc_before"]
    stored = read_sample(workspace.store, pairs[0].journey.registered_sha256 or "")
    assert stored.array.shape == (1, 32, 32)
    after = {row.id: row.file_sha256 for row, _ in queries.images.images(workspace.session)}
    assert after == before  # priors keep their bytes

    strict = register_journeys(workspace, RegisterConfig(min_ncc=0.999, strangers=0), progress)
    assert strict.kept == 0 and len(strict.dropped) == len(pairs)
    assert "below 0.999" in strict.dropped[0] and "studies.csv:" in strict.dropped[0]
    again = register_journeys(workspace, RegisterConfig(skip=True), progress)
    assert again.kept == len(pairs)
