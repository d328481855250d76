"""The reward model on a planted truth: stripes whose strength is the quality, and their direction.

Shapes: N images, R ratings, H = W = 32 pixels.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from annotation.config import SimulatedRaterConfig
from annotation.simulated import SimulatedRater
from rewards.backbones import Backbone
from rewards.config import RewardConfig
from rewards.errors import RewardError
from rewards.model import RewardModel
from rewards.process import Pairs
from rewards.ratings import RatedImages, References

DIRECTIONS = ("across", "down")
CONFIG = RewardConfig()


@cache
def backbone() -> Backbone:
    """Random filters: they know nothing of stripes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 24, 5, 2, 2),
            nn.GELU(),
            nn.Conv2d(24, 48, 3, 2, 1),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
    return Backbone("random filters", network, 192)


def stripes(count: int, seed: int, *, weakest: float = 0.0) -> tuple[Tensor, Tensor, list[str]]:
    """Return images [N, 3, 32, 32], the strength of their stripes [N] and their directions."""
    chance = torch.Generator().manual_seed(seed)
    strength_N = weakest + (1 - weakest) * torch.rand(count, generator=chance)
    phase_N = 6.3 * torch.rand(count, generator=chance)
    wave_N1W = torch.sin(torch.arange(32) * 1.3 + phase_N[:, None])[:, None]
    pattern_NHW = wave_N1W.expand(count, 32, 32).clone()
    directions = [DIRECTIONS[number % 2] for number in range(count)]
    pattern_NHW[1::2] = pattern_NHW[1::2].transpose(1, 2).clone()
    noise_N1HW = 0.15 * torch.randn(count, 1, 32, 32, generator=chance)
    shown = 0.5 + 0.3 * (strength_N[:, None, None] * pattern_NHW)[:, None] + noise_N1HW
    return shown.expand(count, 3, 32, 32).clamp(0, 1), strength_N, directions


def rated(images: Tensor, truth_N: Tensor, texts: list[str], seed: int = 0) -> RatedImages:
    """Three noisy raters of different severity look at every image."""
    raters = [
        SimulatedRater(
            SimulatedRaterConfig(
                name=f"r{n}", severity=shift, noise=0.4, lapse=0.03, expert_level=3 - n, seed=seed
            )
        )
        for n, shift in enumerate((0.0, 0.4, -0.4))
    ]
    values = [
        rater.rate(truth_N.tolist(), (0.35, 0.65), [str(n) for n in range(len(images))])
        for rater in raters
    ]
    with torch.no_grad():
        features = backbone().features(images)
    return RatedImages(
        features_ND=features,
        modalities=["Stripes"] * len(images),
        texts=texts,
        prompts=[f"{text} {number % 20}" for number, text in enumerate(texts)],
        image_R=torch.arange(len(images)).repeat(3),
        grade_R=torch.tensor(values).flatten() - 1,
        raters=[rater.config.name for rater in raters for _ in images],
        weight_R=torch.tensor([rater.config.expert_level / 3 for rater in raters for _ in images]),
    )


@cache
def fitted() -> RewardModel:
    images, strength_N, texts = stripes(240, seed=0)
    return RewardModel(backbone(), CONFIG).fit(rated(images, strength_N, texts))


def test_it_finds_the_planted_quality_in_images_it_never_saw() -> None:
    images, strength_N, texts = stripes(300, seed=1)
    mean_N, spread_N = fitted().predict(images, ["Stripes"] * 300, texts)
    low, high = strength_N < 0.35, strength_N > 0.65
    clear = low | high
    assert roc_auc_score(high[clear], mean_N[clear]) >= 0.85
    assert spearmanr(mean_N, strength_N).statistic >= 0.6
    assert mean_N[low].mean() < mean_N[~clear].mean() < mean_N[high].mean()
    assert ((mean_N >= 0) & (mean_N <= 1)).all()
    assert (spread_N > 0).all()


def test_every_rating_value_has_a_probability_and_the_best_one_is_the_score() -> None:
    images, strength_N, texts = stripes(60, seed=11)
    asked = (images, ["Stripes"] * 60, texts)
    probability_NV = fitted().predict_probabilities(*asked)
    mean_N, _ = fitted().predict(*asked)
    assert probability_NV.shape == (60, 3)
    assert (probability_NV >= 0).all()
    assert torch.allclose(probability_NV.sum(1), torch.ones(60))
    assert torch.allclose(probability_NV[:, 2], mean_N)
    low = strength_N < 0.35
    assert probability_NV[low, 0].mean() > probability_NV[~low, 0].mean()


def test_keeping_the_better_half_raises_the_share_of_good_images() -> None:
    images, strength_N, texts = stripes(300, seed=2)
    mean_N, _ = fitted().predict(images, ["Stripes"] * 300, texts)
    good = strength_N > 0.65
    kept = mean_N >= mean_N.median()
    assert good[kept].float().mean() - good.float().mean() >= 0.15


def test_its_own_figures_agree_with_new_images() -> None:
    quality = fitted().quality_
    assert quality is not None
    assert fitted().held_out_by_ == "prompt"
    assert quality.auc_top_or_bottom is not None and quality.auc_top_or_bottom >= 0.85
    assert quality.spearman is not None and quality.spearman >= 0.6
    means = quality.mean_by_value
    assert means["1"] < means["2"] < means["3"]
    assert quality.ece < 0.15
    assert (quality.num_images, quality.num_ratings) == (240, 720)  # each left out once


@pytest.mark.slow
def test_fitted_to_shuffled_images_it_knows_nothing() -> None:
    images, strength_N, texts = stripes(240, seed=0)
    table = rated(images, strength_N, texts)
    mixed = torch.randperm(240, generator=torch.Generator().manual_seed(0))
    model = RewardModel(backbone(), CONFIG).fit(
        replace(table, features_ND=table.features_ND[mixed])
    )
    assert model.quality_ is not None
    assert model.quality_.auc_top_or_rest == pytest.approx(0.5, abs=0.1)


def test_shown_another_image_for_each_prompt_it_falls_to_chance() -> None:
    quality = fitted().quality_
    assert quality is not None
    assert quality.auc_images_shuffled == pytest.approx(0.5, abs=0.1)


def test_it_learns_whether_the_image_shows_what_was_asked() -> None:
    images, _, directions = stripes(200, seed=3, weakest=0.5)
    asked = [DIRECTIONS[n // 2 % 2] for n in range(200)]
    agrees = torch.tensor([a == d for a, d in zip(asked, directions, strict=True)])
    model = RewardModel(backbone(), CONFIG).fit(rated(images, agrees.float(), asked))
    quality = model.quality_
    assert quality is not None
    assert quality.auc_top_or_bottom is not None and quality.auc_top_or_bottom >= 0.85
    assert quality.auc_prompts_shuffled is not None and quality.auc_prompts_shuffled < 0.65
    right, _ = model.predict(images, ["Stripes"] * 200, directions)
    wrong, _ = model.predict(
        images, ["Stripes"] * 200, [DIRECTIONS[d == "across"] for d in directions]
    )
    assert (right > wrong).float().mean() > 0.9


@pytest.mark.slow
def test_fitting_twice_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    images, strength_N, texts = stripes(60, seed=4)
    table = rated(images, strength_N, texts)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.rand(seed + 1)  # what else was drawn does not matter
        config = replace(CONFIG, max_landmarks=40, seed=seed)
        model = RewardModel(backbone(), config).fit(table, measured=name != "c")
        model.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_what_is_loaded_predicts_what_was_saved(tmp_path: Path) -> None:
    images, _, texts = stripes(8, seed=5)
    fitted().save(tmp_path / "model.safetensors")
    loaded = RewardModel.load(tmp_path / "model.safetensors", backbone())
    for here, there in zip(
        fitted().predict(images, ["Stripes"] * 8, texts),
        loaded.predict(images, ["Stripes"] * 8, texts),
        strict=True,
    ):
        assert torch.equal(here, there)
    assert loaded.quality_ == fitted().quality_
    assert loaded.config == CONFIG


def test_a_model_on_other_weights_of_its_backbone_is_refused(tmp_path: Path) -> None:
    fitted().save(tmp_path / "model.safetensors")
    other = Backbone("random filters", nn.Sequential(nn.Flatten(), nn.Linear(3072, 192)), 192)
    with pytest.raises(RewardError, match="Fit it again"):
        RewardModel.load(tmp_path / "model.safetensors", other)


def test_a_file_that_is_no_reward_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"not one")
    with pytest.raises(RewardError, match="not a reward model"):
        RewardModel.load(tmp_path / "x", backbone())


def test_the_gradient_reaches_the_pixels_and_raises_the_score() -> None:
    images, _, texts = stripes(16, seed=6)
    pixels = images.clone().requires_grad_(True)
    before, _ = fitted().predict(pixels, ["Stripes"] * 16, texts)
    (slope,) = torch.autograd.grad(before.sum(), pixels)
    after, _ = fitted().predict(pixels + 0.01 * slope.sign(), ["Stripes"] * 16, texts)
    assert (after > before).all()


def test_an_expert_weighs_more_in_the_loss_and_changes_no_label() -> None:
    images, strength_N, texts = stripes(120, seed=7)
    table = rated(images, strength_N, texts)
    upside_down = torch.arange(360) >= 120  # two of three say the opposite
    table = replace(table, grade_R=torch.where(upside_down, 2 - table.grade_R, table.grade_R))

    def spearman(weight: float) -> float:
        model = RewardModel(backbone(), CONFIG)
        weight_R = torch.where(upside_down, weight, 1.0)
        model.fit(replace(table, weight_R=weight_R), measured=False)
        mean_N, _ = model.predict(images, ["Stripes"] * 120, texts)
        return float(spearmanr(mean_N, strength_N).statistic)

    assert spearman(0.05) > 0.5 > spearman(1.0)


def test_too_few_ratings_are_refused_with_what_is_needed() -> None:
    images, strength_N, texts = stripes(12, seed=8)
    with pytest.raises(RewardError, match="36 ratings, but a reward model needs 40"):
        RewardModel(backbone(), CONFIG).fit(rated(images, strength_N, texts))


def test_ratings_of_one_kind_are_refused_with_what_is_needed() -> None:
    images, strength_N, texts = stripes(30, seed=9)
    table = rated(images, strength_N, texts)
    only_best = replace(table, grade_R=torch.full_like(table.grade_R, 2))
    with pytest.raises(RewardError, match="90 of 90 ratings are the best grade"):
        RewardModel(backbone(), CONFIG).fit(only_best)


def test_a_modality_nobody_rated_is_refused() -> None:
    images, _, texts = stripes(2, seed=10)
    with pytest.raises(RewardError, match="No image of OCT was rated"):
        fitted().predict(images, ["Stripes", "OCT"], texts)


def test_captioned_images_that_nobody_rated_teach_what_a_finding_looks_like() -> None:
    images, strength_N, directions = stripes(120, seed=5, weakest=0.3)
    across = slice(0, None, 2)  # only these are rated
    shown = rated(images[across], strength_N[across], directions[across])
    with torch.no_grad():
        features = backbone().features(stripes(40, seed=6, weakest=0.8)[0])
    captioned = References(features_SD=features, modalities=["Stripes"] * 40, texts=directions[:40])

    def lost(table: RatedImages) -> Tensor:
        model = RewardModel(backbone(), CONFIG).fit(table, measured=False)
        right, _ = model.predict(images[across], ["Stripes"] * 60, ["across"] * 60)
        wrong, _ = model.predict(images[across], ["Stripes"] * 60, ["down"] * 60)
        return (right - wrong)[strength_N[across] > 0.6]

    without, taught = lost(shown), lost(replace(shown, references=captioned))
    assert (taught > 0).all()
    assert taught.mean() > without.mean() + 0.1


def test_what_is_known_of_images_together_agrees_with_each_ones_own() -> None:
    images, _, texts = stripes(12, seed=7)
    with torch.no_grad():
        features = backbone().features(images)
    model = fitted()
    [known] = model.joint(features, ["Stripes"] * 12, texts)
    prompts = model._prompts(["Stripes"] * 12, texts)
    assert model.process_ is not None
    mean_CN, variance_CN = model.process_.latent(Pairs(features, prompts), model._congruence)
    assert torch.allclose(known.mean_N.float(), mean_CN[0])
    assert torch.allclose(known.covariance_NN.diagonal().float(), variance_CN[0], atol=0.02)
    assert torch.linalg.eigvalsh(known.covariance_NN).min() > -0.02
