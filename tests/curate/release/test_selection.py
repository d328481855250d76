from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

import pytest
import torch
from torch import Tensor

from curate.errors import CurateError
from curate.release.config import ExportConfig
from curate.release.selection import (
    Decision,
    Distinct,
    Known,
    _beyond_quota,
    kind_of,
    select_images,
)
from curate.samples.neighbours import first_within
from db.queries.images import ScoredImage

NOTHING_KNOWN = Known(frozenset(), torch.full((1, 2), 1e6), 0.1, {})


def _image(number: int, score: float | None, **changed: object) -> ScoredImage:
    key = f"{number:064x}"
    values = {
        "image_id": uuid4(),
        "file_sha256": key,
        "pixels_sha256": key,
        "item_key": key,
        "prompt_id": key,
        "modality": "CXR",
        "text": "normal",
        "label": "normal",
        "version_id": "a" * 64,
        "seed": number,
        "settings_hash": "s",
        "score": score,
        "spread": 0.0,
    }
    return ScoredImage(**{**values, **changed})  # type: ignore[arg-type]


def _apart(images: Sequence[ScoredImage]) -> Tensor:
    """Features by seed: images 1 apart, so that none is near another."""
    return torch.tensor([[float(image.seed), 0.0] for image in images]).reshape(-1, 2)


def _kept(decisions: Sequence[Decision]) -> list[int]:
    return [decision.image.seed for decision in decisions if decision.kept]


def _kind(decisions: Sequence[Decision], seed: int) -> str:
    return next(kind_of(d.reason) for d in decisions if d.image.seed == seed)


def test_every_image_gets_a_decision_in_its_place() -> None:
    images = [_image(0, 0.2), _image(1, None), _image(2, 0.9)]
    decisions = select_images(images, ExportConfig(threshold=0.3), NOTHING_KNOWN, _apart)
    assert [d.image for d in decisions] == images
    assert [(d.kept, d.reason) for d in decisions] == [
        (False, "score below the threshold"),
        (False, "not scored"),
        (True, "score reaches the threshold"),
    ]
    assert {d.threshold for d in decisions} == {0.3}


def test_a_share_keeps_the_best_and_says_the_score_it_came_to() -> None:
    images = [_image(i, i / 10) for i in range(10)]
    decisions = select_images(images, ExportConfig(top_share=0.3), NOTHING_KNOWN, _apart)
    assert _kept(decisions) == [7, 8, 9]
    assert decisions[0].threshold == 0.7


def test_none_passed_is_an_error_that_names_the_best_score() -> None:
    with pytest.raises(CurateError, match=r"None of 2 scored.*0\.950.*best has 0\.400"):
        images = [_image(0, 0.1), _image(1, 0.4)]
        select_images(images, ExportConfig(threshold=0.95), NOTHING_KNOWN, _apart)


def test_nothing_scored_is_an_error_that_says_what_to_run() -> None:
    with pytest.raises(CurateError, match="curate score"):
        select_images([_image(0, None)], ExportConfig(), NOTHING_KNOWN, _apart)
    with pytest.raises(CurateError, match="curate generate"):
        select_images([], ExportConfig(), NOTHING_KNOWN, _apart)


def test_of_equal_pixels_the_better_image_stays_and_a_real_images_pixels_never() -> None:
    images = [
        _image(0, 0.6, pixels_sha256="p"),
        _image(1, 0.8, pixels_sha256="p"),
        _image(2, 0.9, pixels_sha256="real"),
    ]
    known = Known({"real"}, NOTHING_KNOWN.train_MD, 0.1, {})
    decisions = select_images(images, ExportConfig(), known, _apart)
    assert _kept(decisions) == [1]
    assert decisions[0].reason == f"pixels of a better image: {images[1].item_key[:12]}"
    assert decisions[2].reason == "pixels of a real image"


def test_images_near_a_training_image_are_dropped_and_drop_no_other() -> None:
    # 0 lies on the training image; 1 is near 0 but not near the training image
    positions = {0: 0.0, 1: 0.15, 2: 5.0, 3: 5.05}

    def features(images: Sequence[ScoredImage]) -> Tensor:
        return torch.tensor([[positions[i.seed], 0.0] for i in images])

    known = Known(frozenset(), torch.tensor([[-0.05, 0.0]]), 0.17, {})
    images = [_image(0, 0.99), _image(1, 0.9), _image(2, 0.7), _image(3, 0.8)]
    decisions = select_images(images, ExportConfig(), known, features)
    assert _kept(decisions) == [1, 3]
    assert decisions[0].reason == "near a training image: distance 0.0500, radius 0.1700"
    assert decisions[2].reason == f"near a better image: {images[3].item_key[:12]}"


def test_an_edit_may_lie_near_its_own_patient_and_near_no_other() -> None:
    trained = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [50.0, 0.0]])
    known = Known(
        frozenset(),
        trained,
        0.1,
        {},
        own_patients=["ann", "bob", None],  # nobody knows whose the first one is
        behind={"of ann": {"ann"}, "plain": set()},
    )
    at = {0: (1.01, "of ann"), 1: (2.02, "of ann"), 2: (0.01, "of ann"), 3: (1.03, "plain")}
    images = [_image(seed, 0.9, prompt_id=prompt) for seed, (_, prompt) in at.items()]

    def features(images: Sequence[ScoredImage]) -> Tensor:
        return torch.tensor([[at[image.seed][0], 0.0] for image in images])

    decisions = select_images(images, ExportConfig(), known, features)
    assert _kept(decisions) == [0]
    assert {_kind(decisions, seed) for seed in (1, 2, 3)} == {"near a training image"}


def test_copies_only_is_an_error_of_its_own() -> None:
    known = Known(frozenset(), torch.zeros(1, 2), 100.0, {})
    with pytest.raises(CurateError, match="near a training image.*memorised share"):
        select_images([_image(0, 0.9), _image(1, 0.9)], ExportConfig(), known, _apart)


def test_each_label_of_a_modality_gets_at_most_the_limit_best_first() -> None:
    images = [_image(i, 0.5 + i / 100, label="amd" if i < 4 else "dme") for i in range(6)]
    decisions = select_images(images, ExportConfig(per_label=2), NOTHING_KNOWN, _apart)
    assert _kept(decisions) == [2, 3, 4, 5]
    assert _kind(decisions, 0) == "label is full"


def test_images_of_a_version_that_the_gate_rejected_stay_out() -> None:
    known = Known(frozenset(), NOTHING_KNOWN.train_MD, 0.1, {"b" * 64: "round 2 of loop"})
    images = [_image(0, 0.6), _image(1, 0.99, version_id="b" * 64)]
    decisions = select_images(images, ExportConfig(top_share=0.5), known, _apart)
    assert _kept(decisions) == [0]  # the share is of those that may pass
    assert decisions[1].reason == "generator version rejected: round 2 of loop"


def test_the_order_of_rows_does_not_matter() -> None:
    images = [_image(i, 0.9, pixels_sha256=str(i % 3)) for i in range(9)]
    forwards = select_images(images, ExportConfig(), NOTHING_KNOWN, _apart)
    backwards = select_images(images[::-1], ExportConfig(), NOTHING_KNOWN, _apart)
    assert forwards == backwards[::-1]


def test_first_within_agrees_with_the_plain_loop_across_blocks() -> None:
    features = torch.rand(1300, 2, generator=torch.Generator().manual_seed(0))
    stays: list[int] = []
    for row in range(len(features)):
        if not stays or (features[stays] - features[row]).norm(dim=1).min() >= 0.03:
            stays.append(row)
    answers = first_within(features, 0.03)
    assert [row for row, twin in enumerate(answers) if twin is None] == stays
    for row, twin in enumerate(answers):
        if twin is not None:
            assert twin in stays and twin < row
            assert (features[row] - features[twin]).norm() < 0.03


def test_a_threshold_and_a_share_together_are_refused() -> None:
    with pytest.raises(CurateError, match="Drop one of them"):
        config = ExportConfig(threshold=0.5, top_share=0.5)
        select_images([_image(0, 0.9)], config, NOTHING_KNOWN, _apart)


def test_a_quota_takes_the_best_of_each_label_whatever_the_others_score() -> None:
    images = [_image(i, 0.9 - i / 100, label="common") for i in range(4)]
    images += [_image(4 + i, 0.2 - i / 100, label="rare") for i in range(3)]
    decisions = select_images(images, ExportConfig(quota=2), NOTHING_KNOWN, _apart)
    assert _kept(decisions) == [0, 1, 4, 5]
    thresholds = {d.image.label: d.threshold for d in decisions}
    assert thresholds == {"common": pytest.approx(0.89), "rare": pytest.approx(0.19)}
    assert "2 images of CXR rare are better" in decisions[-1].reason
    best_first = Distinct(images, torch.zeros(7, 2), 0.1)
    full, of_class = _beyond_quota(best_first, 2)
    assert len(full) == 3 and of_class["CXR", "rare"] == pytest.approx(0.19)
    least = ExportConfig(quota=2, threshold=0.195)
    assert _kept(select_images(images, least, NOTHING_KNOWN, _apart)) == [0, 1, 4]
    with pytest.raises(CurateError, match="drop --top-share"):
        select_images(images, ExportConfig(quota=2, top_share=0.5), NOTHING_KNOWN, _apart)


def test_what_contradicts_a_better_image_stays_behind_with_its_reason() -> None:
    images = [_image(0, 0.9, label="amd"), _image(1, 0.8, label="dme"), _image(2, 0.7)]
    known = replace(
        NOTHING_KNOWN, worse_twins=lambda best: {best[1].item_key: f"twin: {best[0].seed}"}
    )
    decisions = select_images(images, ExportConfig(), known, _apart)
    assert _kept(decisions) == [0, 2] and decisions[1].reason == "twin: 0"
    unread = replace(NOTHING_KNOWN, unfit=lambda i: "not read" if i.seed == 0 else None)
    assert _kept(select_images(images, ExportConfig(), unread, _apart)) == [1, 2]
