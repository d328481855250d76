from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from curate.errors import CurateError
from curate.evaluation.config import EvaluationConfig
from curate.evaluation.features import network_features, reference_of, unit
from curate.evaluation.fidelity import kid
from curate.evaluation.intervals import Estimate
from curate.evaluation.judge import ToJudge
from curate.evaluation.privacy import nearest
from curate.evaluation.table import (
    Evaluation,
    Figures,
    VersionFigures,
    evaluate,
    similarity_within_prompts,
)
from curate.progress import Advance
from curate.samples.pixels import pixels_hash, png_bytes
from curate.workspace import Workspace
from rewards import frozen


@contextmanager
def _silent(total: int, what: str) -> Iterator[Advance]:
    yield lambda number: None


def _add_real(story: Any, array: np.ndarray, split: str | None) -> str:
    from db import queries
    from db.models import Image

    [sha] = queries.files.add_files(
        story.ws.session, story.ws.store, [(png_bytes(array), "image/png")]
    )
    story.ws.session.add(
        Image(
            file_sha256=sha,
            pixels_sha256=pixels_hash(array),
            origin="real",
            prompt_id=story.prompts[0].id,
            shape=[1, *array.shape],
            split=split,
        )
    )
    story.ws.session.commit()
    return str(sha)


def _stripes(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    wave = np.sin(np.arange(64) * random.uniform(0.1, 1.0))
    levels: np.ndarray = (127 + 100 * np.tile(wave, (64, 1))).astype(np.uint8)
    return levels


def _pixels(story: Any, sha: str) -> np.ndarray:
    from curate.samples.pixels import array_of

    array: np.ndarray = array_of(story.ws.store.get(sha))
    return array


def test_every_version_with_images_is_measured_oldest_first(story: Any) -> None:
    found = evaluate(story.ws, EvaluationConfig(), _silent)
    assert [row.version_id for row in found.versions] == [v.id for v in story.versions]
    for row in found.versions:
        figures = row.figures
        assert figures.num_images == 12
        assert figures.top_share is not None and figures.top_share.num == 12
        assert figures.ms_ssim is not None and figures.ms_ssim.num == 2  # prompts
        assert figures.kid is not None and figures.kid.value > 0.5  # stripes are no patients
        assert figures.frechet is not None and figures.frechet.value > 0
        assert figures.memorised is not None and figures.memorised.value == 0
    assert found.real is None
    assert "feature network D" in found.feature_network and "judge C" in found.judge
    assert any("judge C" in line for line in found.lines())


def test_a_copied_training_image_is_seen_as_memorised(story: Any) -> None:
    """Two of the twelve are imported as real training images: their copies must be found."""
    shas = [story.images[story.versions[0].id, 0, seed].file_sha256 for seed in (0, 1)]
    for sha in shas:
        _add_real(story, _pixels(story, sha), "train")
    base, new = evaluate(story.ws, EvaluationConfig(), _silent).versions
    assert base.figures.memorised is not None and new.figures.memorised is not None
    assert base.figures.memorised.value == pytest.approx(2 / 12)


def test_held_out_real_images_stand_beside_and_move_the_radius(story: Any) -> None:
    network = frozen.load_features()
    shipped = reference_of(story.ws, network)
    assert shipped.num_own == 0
    _add_real(story, np.full((80, 64), 90, np.uint8), None)
    sha = _add_real(story, np.full((80, 64), 99, np.uint8), "val")
    own = reference_of(story.ws, network)
    assert own.num_own == 1 and len(own.train_MD) == len(shipped.train_MD) + 1
    assert len(own.val_distances_V) == len(shipped.val_distances_V) + 1
    expected, _ = nearest(unit(network_features(story.ws, network, [sha])), unit(own.train_MD))
    assert own.val_distances_V[-1].item() == pytest.approx(expected.item())
    real = evaluate(story.ws, EvaluationConfig(), _silent).real
    assert real is not None and real.num_images == 1
    assert (
        real.kid is None and real.frechet is None and real.ms_ssim is None
    )  # one image is too few


def test_kid_compares_with_the_workspaces_own_images_where_there_are_enough(story: Any) -> None:
    few = reference_of(story.ws, frozen.load_features())
    assert len(few.to_resemble) == len(few.train_MD) > 500
    for seed in range(50):
        _add_real(story, _stripes(seed), "train")
    many = reference_of(story.ws, frozen.load_features())
    assert len(many.to_resemble) == 50 and torch.equal(many.to_resemble, many.train_MD[-50:])
    figures = evaluate(story.ws, EvaluationConfig(), _silent).versions[0].figures
    made = [i.file_sha256 for i in story.images.values() if i.version_id == story.versions[0].id]
    features = network_features(story.ws, frozen.load_features(), made)
    assert figures.kid is not None
    assert figures.kid.value == pytest.approx(kid(features, many.to_resemble).value, rel=1e-6)


def test_images_all_alike_have_similarity_1(story: Any) -> None:
    image = story.images[story.versions[0].id, 0, 0]
    same = [ToJudge(image.file_sha256, "prompt", "OCT", "", None)] * 3
    estimate = similarity_within_prompts(story.ws, same, 8)
    assert estimate is not None and estimate.value == pytest.approx(1.0)
    assert similarity_within_prompts(story.ws, same[:1], 8) is None


def test_the_sample_of_a_version_is_limited_and_the_same_each_time(story: Any) -> None:
    config = EvaluationConfig(images_per_version=5)
    first, second = (evaluate(story.ws, config, _silent).to_json() for _ in range(2))
    assert first == second
    assert [row["figures"]["num_images"] for row in first["versions"]] == [5, 5]


def test_nothing_to_measure_says_what_to_run(workspace: Workspace) -> None:
    with pytest.raises(CurateError, match="curate generate"):
        evaluate(workspace, EvaluationConfig(), _silent)


def _row(name: str, share: float | None, kid: float) -> VersionFigures:
    top = None if share is None else Estimate(share, share - 0.1, share + 0.1, 50)
    figures = Figures(50, top, Estimate(kid, kid - 0.01, kid + 0.01, 50), None, None)
    return VersionFigures(name * 32, "rl-step", figures)


def _evaluation(*rows: VersionFigures) -> Evaluation:
    return Evaluation("a judge", "D", 100, 100, 0.1, rows, None)


def test_a_judge_that_rises_while_kid_worsens_is_remarked_on() -> None:
    told = _evaluation(_row("a", 0.5, 0.02), _row("b", 0.7, 0.05)).remarks({"b" * 32: "round 1"})
    assert len(told) == 1
    assert told[0].startswith("from aaaaaaaaaaaa to round 1 the judge's top share rises (50 to 70")
    assert "KID worsens (0.020 to 0.050; the intervals do not overlap)" in told[0]
    near = _evaluation(_row("a", 0.5, 0.02), _row("b", 0.7, 0.03))
    assert "the intervals overlap" in near.remarks()[0]
    assert any(line.startswith("Note: from a") for line in near.lines())


def _with_frechet(row: VersionFigures, value: float, num_images: int = 50) -> VersionFigures:
    far = Estimate(value, value - 0.1, value + 0.1, num_images)
    return replace(row, figures=replace(row.figures, frechet=far, num_images=num_images))


def test_a_frechet_distance_that_worsens_is_remarked_on_too_among_as_many_images() -> None:
    start = _with_frechet(_row("a", 0.5, 0.02), 1.0)
    worse = _evaluation(start, _with_frechet(_row("b", 0.7, 0.01), 1.5))
    assert (
        "while the Frechet distance worsens (1.000 to 1.500; the intervals do not"
        in (worse.remarks()[0])
    )
    both = _evaluation(start, _with_frechet(_row("b", 0.7, 0.05), 1.1)).remarks()[0]
    assert "KID worsens" in both and "and the Frechet distance worsens" in both
    assert _evaluation(start, _with_frechet(_row("b", 0.7, 0.01), 0.9)).remarks() == []
    assert _evaluation(start, _with_frechet(_row("b", 0.7, 0.01), 1.5, 40)).remarks() == []


@pytest.mark.parametrize(("share", "kid"), [(0.7, 0.01), (0.4, 0.05), (None, 0.05)])
def test_without_a_contradiction_there_is_no_remark(share: float | None, kid: float) -> None:
    assert _evaluation(_row("a", 0.5, 0.02), _row("b", share, kid)).remarks() == []
