from collections import Counter
from typing import Any

import numpy as np
import pytest

from curate.rating.active import inclusion_probabilities, select_active, spread_draw
from db.models import Score


def test_probabilities_sum_to_the_count_and_leave_nobody_out() -> None:
    worth = np.array([100.0, 5.0, 1.0, 1.0, 0.001, 1.0])
    p = inclusion_probabilities(worth, 3)
    assert p.sum() == pytest.approx(3) and p.max() <= 1
    assert p[0] == 1 and p[1] > p[2] > p[4] > 0.05


def test_equal_worth_is_a_plain_draw() -> None:
    assert inclusion_probabilities(np.ones(8), 2) == pytest.approx(np.full(8, 0.25))


def test_each_is_drawn_as_often_as_its_probability_says_and_the_number_is_fixed() -> None:
    chance = np.random.default_rng(0)
    features = chance.random((20, 2))
    p = inclusion_probabilities(chance.random(20), 6)
    counts = Counter[int]()
    for _ in range(3000):
        drawn = spread_draw(features, p, chance)
        assert len(drawn) == 6
        counts.update(drawn)
    found = np.array([counts[n] / 3000 for n in range(20)])
    assert np.abs(found - p).max() < 0.04  # over 4 standard errors


def test_near_images_are_seldom_drawn_together() -> None:
    chance = np.random.default_rng(0)
    features = np.repeat(np.arange(10.0)[:, None] * 100, 2, axis=0)  # ten pairs of twins
    features += chance.random(features.shape)
    p = np.full(20, 0.5)
    for _ in range(50):
        assert len({place // 2 for place in spread_draw(features, p, chance)}) == 10


def _draw(story: Any, count: int, seed: int = 0) -> Any:
    images = [image for (_, _, seed_), image in story.images.items()]
    return select_active(story.ws, images, count=count, seed=seed)


def test_a_batch_is_as_large_as_asked_and_the_same_for_the_same_seed(story: Any) -> None:
    one, two, other = _draw(story, 6), _draw(story, 6), _draw(story, 6, seed=1)
    assert len({image.id for image in one.images}) == 6
    assert [image.id for image in one.images] == [image.id for image in two.images]
    assert {image.id for image in one.images} != {image.id for image in other.images}
    assert all(0 < p <= 1 for p in one.inclusion_probabilities)


def test_all_images_asked_for_are_all_images(story: Any) -> None:
    chosen = _draw(story, 100)
    assert len(chosen.images) == 24 and set(chosen.inclusion_probabilities) == {1.0}


def test_images_about_which_the_ensemble_disagrees_are_likelier(story: Any) -> None:
    session = story.ws.session
    disputed = story.images[story.versions[1].id, 0, 5]
    row = session.get(Score, (story.reward_model.id, disputed.id))
    row.mean, row.spread = 0.5, 0.4
    session.commit()
    p: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(10):
        chosen = _draw(story, 12, seed)
        for image, probability in zip(chosen.images, chosen.inclusion_probabilities, strict=True):
            p[image.id == disputed.id].append(probability)
    assert np.mean(p[True]) > 1.3 * np.mean(p[False])
