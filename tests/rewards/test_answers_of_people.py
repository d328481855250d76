"""What a fit makes of people's habits, pairs and bad input. One number an image is its feature.

Shapes: N images, R ratings.
"""

from dataclasses import replace
from functools import cache

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from annotation.config import SimulatedRaterConfig
from annotation.simulated import SimulatedRater
from rewards.backbones import Backbone
from rewards.config import RewardConfig
from rewards.errors import RewardError
from rewards.model import RewardModel
from rewards.ratings import Comparisons, RatedImages

NUM = 90


@cache
def backbone() -> Backbone:
    return Backbone("waves", nn.Identity(), 8)


def features(quality_N: Tensor) -> Tensor:
    return torch.cat([torch.sin(k * quality_N[:, None] + k) for k in range(1, 9)], dim=1)


def quality() -> Tensor:
    return torch.rand(NUM, generator=torch.Generator().manual_seed(0))


def images(modalities: tuple[str, ...] = ("OCT",)) -> RatedImages:
    """Unrated images of a planted quality between 0 and 1."""
    return RatedImages(
        features_ND=features(quality()),
        modalities=[modalities[n % len(modalities)] for n in range(NUM)],
        texts=["drusen"] * NUM,
        prompts=[f"p{n % 15}" for n in range(NUM)],
        image_R=torch.zeros(0, dtype=torch.long),
        grade_R=torch.zeros(0, dtype=torch.long),
        raters=[],
        weight_R=torch.zeros(0),
    )


def rated(*raters: SimulatedRaterConfig) -> RatedImages:
    grades = [
        SimulatedRater(rater).rate(
            quality().tolist(), (0.35, 0.65), [str(n) for n in range(NUM)], min_value=0
        )
        for rater in raters
    ]
    return replace(
        images(),
        image_R=torch.arange(NUM).repeat(len(raters)),
        grade_R=torch.tensor(grades).flatten(),
        raters=[rater.name for rater in raters for _ in range(NUM)],
        weight_R=torch.ones(NUM * len(raters)),
    )


def fit(table: RatedImages, *, measured: bool = False) -> RewardModel:
    return RewardModel(backbone(), RewardConfig()).fit(table, measured=measured)


def scores(model: RewardModel) -> Tensor:
    mean_N, spread_N = model.predict_features(features(quality()), ["OCT"] * NUM, ["drusen"] * NUM)
    assert torch.isfinite(mean_N).all() and torch.isfinite(spread_N).all()
    return mean_N


def test_who_is_strict_and_who_is_careless_is_found_beside_the_quality() -> None:
    model = fit(
        rated(
            SimulatedRaterConfig(name="strict", severity=0.8, noise=0.2, lapse=0.0),
            SimulatedRaterConfig(name="mild", severity=-0.8, noise=0.2, lapse=0.0),
            SimulatedRaterConfig(name="careless", noise=0.2, lapse=0.6),
        )
    )
    habits = {each.rater: each for each in model.raters_}
    assert habits["strict"].severity - habits["mild"].severity > 0.8
    assert habits["careless"].lapses > max(habits["strict"].lapses, habits["mild"].lapses) + 0.1
    assert spearmanr(scores(model), quality()).statistic > 0.9


def test_pairs_alone_order_the_images() -> None:
    chance = torch.Generator().manual_seed(1)
    left, right = torch.randint(NUM, (2, 300), generator=chance)
    left, right = left[left != right], right[left != right]
    pairs = Comparisons(
        left_C=left,
        right_C=right,
        preference_C=(quality()[left] > quality()[right]).float(),
        raters=["ann"] * len(left),
        weight_C=torch.ones(len(left)),
        criterion_C=torch.zeros_like(left),
    )
    model = fit(replace(images(), comparisons=pairs), measured=True)
    assert spearmanr(scores(model), quality()).statistic > 0.9
    assert model.quality_ is not None
    assert model.quality_.spearman is None  # no rating to hold it against


def test_pairs_that_contradict_each_other_are_named_and_pull_nowhere() -> None:
    left, right = torch.arange(40), torch.arange(40) + 40
    pairs = Comparisons(
        left_C=left.repeat(2),
        right_C=right.repeat(2),
        preference_C=torch.tensor([1.0] * 40 + [0.0] * 40),
        raters=["ann"] * 40 + ["ben"] * 40,
        weight_C=torch.ones(80),
        criterion_C=torch.zeros(80, dtype=torch.long),
    )
    model = fit(replace(images(), comparisons=pairs))
    assert any("40 of 40 pairs" in note for note in model.notes_)
    assert scores(model).std() < 0.02


def test_one_rater_is_enough_and_its_limits_are_said() -> None:
    model = fit(rated(SimulatedRaterConfig(name="ann", noise=0.2)))
    assert any("one rater only" in note for note in model.notes_)
    assert spearmanr(scores(model), quality()).statistic > 0.9


@pytest.mark.slow
def test_an_image_is_as_good_as_its_weakest_criterion_and_answers_may_be_missing() -> None:
    table = rated(SimulatedRaterConfig(name="a", noise=0.2))
    opposite = replace(  # the second question finds good what the first finds bad; every third left
        table,
        criteria=("realism", "match"),
        image_R=torch.cat([table.image_R, table.image_R[::3]]),
        grade_R=torch.cat([table.grade_R, 2 - table.grade_R[::3]]),
        raters=[*table.raters, *table.raters[::3]],
        weight_R=torch.ones(NUM + NUM // 3),
        criterion_R=torch.tensor([0] * NUM + [1] * (NUM // 3)),
    )
    model = fit(opposite, measured=True)
    mean_N = scores(model)
    middle = (quality() - 0.5).abs() < 0.1
    assert mean_N[middle].mean() > mean_N[quality() > 0.9].mean()
    assert mean_N[middle].mean() > mean_N[quality() < 0.1].mean()
    assert model.quality_ is not None
    assert set(model.quality_.criteria) == {"realism", "match"}


def test_a_question_nobody_answered_is_refused_by_name() -> None:
    table = rated(SimulatedRaterConfig(name="a"))
    unused = replace(
        table, criteria=("realism", "match"), criterion_R=torch.zeros(NUM, dtype=torch.long)
    )
    with pytest.raises(RewardError, match="Nobody answered 'match'"):
        fit(unused)


def test_five_ratings_are_refused_with_what_is_needed() -> None:
    table = rated(SimulatedRaterConfig(name="a"))
    few = replace(
        table,
        image_R=table.image_R[:5],
        grade_R=table.grade_R[:5],
        raters=table.raters[:5],
        weight_R=table.weight_R[:5],
    )
    with pytest.raises(RewardError, match="5 ratings, but a reward model needs 40"):
        fit(few)


def test_what_nothing_rated_is_like_gets_a_large_spread() -> None:
    model = fit(rated(SimulatedRaterConfig(name="a", noise=0.2)))
    _, known_N = model.predict_features(features(quality()), ["OCT"] * NUM, ["drusen"] * NUM)
    _, strange_N = model.predict_features(
        5 * torch.randn(NUM, 8, generator=torch.Generator().manual_seed(2)),
        ["OCT"] * NUM,
        ["drusen"] * NUM,
    )
    assert strange_N.median() > 2 * known_N.median()


def test_an_image_under_another_modality_loses_without_anybody_having_rated_one() -> None:
    shift_N = torch.tensor([3.0, -3.0]).repeat(NUM // 2)
    table = replace(
        rated(SimulatedRaterConfig(name="a", noise=0.2)),
        modalities=["OCT", "CXR"] * (NUM // 2),
        features_ND=features(quality()) + shift_N[:, None],
    )
    model = fit(table)
    right, _ = model.predict_features(
        table.features_ND, ["OCT", "CXR"] * (NUM // 2), ["drusen"] * NUM
    )
    wrong, _ = model.predict_features(
        table.features_ND, ["CXR", "OCT"] * (NUM // 2), ["drusen"] * NUM
    )
    usable = quality() > 0.35  # the others are at the bottom already
    assert (wrong < right)[usable].float().mean() > 0.95


def test_images_of_one_patient_are_left_out_together() -> None:
    from rewards.folds import parts

    table = replace(
        rated(SimulatedRaterConfig(name="a")), patients=[f"patient {n // 3}" for n in range(NUM)]
    )
    part_N = parts(table, 5, 0, by="image")
    assert all(len(set(part_N[n : n + 3])) == 1 for n in range(0, NUM, 3))
    joined = parts(replace(table, patients=[None] * NUM), 5, 0, by="prompt")
    assert all(len(set(joined[n::15])) == 1 for n in range(15))
