"""What prompts give beside their words: reward models on what only a mask or a record tells.

Shapes: N images, H = W = 32 pixels, D features.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from rewards.conditioning import Conditioning, ConditioningCode, ConditioningFeatures, looked_at
from rewards.model import RewardModel
from rewards.ratings import RatedImages
from tests.rewards.test_model import CONFIG, backbone, rated, stripes

SIDES = ("left", "right")


def mask(side: str) -> Tensor:
    """Return a mask of one half [3, 32, 32]."""
    shown = torch.zeros(3, 32, 32)
    shown[:, :, :16] = 1.0
    return shown if side == "left" else shown.flip(2)


def lesions(count: int, seed: int) -> tuple[Tensor, list[Conditioning], list[bool]]:
    """Return images with a bright half, and prompts whose mask is it or, every other, is not."""
    chance = torch.Generator().manual_seed(seed)
    sides = [SIDES[int(n)] for n in torch.randint(2, (count,), generator=chance)]
    right = [bool(n) for n in torch.randint(2, (count,), generator=chance)]
    noise = 0.15 * torch.randn(count, 3, 32, 32, generator=chance)
    images = torch.stack([0.3 + 0.3 * mask(side) for side in sides]) + noise
    asked = [
        side if is_right else SIDES[1 - SIDES.index(side)]
        for side, is_right in zip(sides, right, strict=True)
    ]
    return images.clamp(0, 1), [Conditioning({"mask": mask(side)}) for side in asked], right


def rated_lesions(given: list[Conditioning], images: Tensor, good: list[bool]) -> RatedImages:
    """Return the ratings of three raters who look at what was given."""
    found = rated(images, torch.tensor(good).float(), ["lesion"] * len(images))
    with torch.no_grad():
        features = [
            ConditioningFeatures(
                {
                    role: backbone().features(looked_at(role, shown, image)[None])[0]
                    for role, shown in each.images.items()
                },
                each.record,
            )
            for image, each in zip(images, given, strict=True)
        ]
    return replace(found, given=features)


def auc_on_new(
    model: RewardModel, images: Tensor, given: list[Conditioning], good: list[bool]
) -> float:
    """Return how well the model tells good from bad among images that it has not seen."""
    with torch.no_grad():
        mean_N, _ = model.predict(
            images, ["Stripes"] * len(images), ["lesion"] * len(images), given
        )
    return float(roc_auc_score(good, mean_N.numpy()))


def test_only_the_mask_tells_good_from_bad() -> None:
    images, given, good = lesions(160, seed=0)
    model = RewardModel(backbone(), CONFIG).fit(rated_lesions(given, images, good), measured=False)
    new, asked, truth = lesions(120, seed=1)
    assert auc_on_new(model, new, asked, truth) > 0.9
    assert 0.4 < auc_on_new(model, new, [], truth) < 0.6  # the picture alone says nothing


@pytest.mark.parametrize("values", [(30, 80), ("male", "female")])
def test_only_a_field_of_the_record_tells_good_from_bad(values: tuple[object, object]) -> None:
    """Half of what is seen suits the first value, half the second; another field says nothing."""
    images, given, good = lesions(160, seed=2)

    def of_record(asked: list[Conditioning]) -> list[Conditioning]:
        return [
            Conditioning(
                record={"wanted": values[int(each.images["mask"][0, 0, 0] < 0.5)], "height": n % 7}
            )
            for n, each in enumerate(asked)
        ]

    fitted = rated_lesions(of_record(given), images, good)
    model = RewardModel(backbone(), CONFIG).fit(fitted, measured=False)
    new, asked, truth = lesions(120, seed=3)
    assert auc_on_new(model, new, of_record(asked), truth) > 0.85


def test_of_an_edit_the_change_is_looked_at() -> None:
    """Good is what left the prior as it was, whatever the prior shows."""
    chance = torch.Generator().manual_seed(4)
    priors, _, _ = stripes(160, seed=4)
    good = [bool(n) for n in torch.randint(2, (160,), generator=chance)]
    images = torch.stack(
        [p if ok else (p + 0.3 * mask("left")) for p, ok in zip(priors, good, strict=True)]
    )
    given = [Conditioning({"prior": prior}) for prior in priors]
    learned = rated_lesions(given[:120], images[:120], good[:120])
    model = RewardModel(backbone(), CONFIG).fit(learned, measured=False)
    pixels = images[120:].clone().requires_grad_(True)
    mean_N, _ = model.predict(pixels, ["Stripes"] * 40, ["lesion"] * 40, given[120:])
    (slope,) = torch.autograd.grad(mean_N.sum(), pixels)
    assert slope.abs().sum() > 0
    assert roc_auc_score(good[120:], mean_N.detach().numpy()) > 0.95
    assert torch.equal(looked_at("prior", priors[0], priors[0]), torch.full((3, 32, 32), 0.5))


def test_prompts_that_give_nothing_more_are_fitted_to_the_same_bytes(tmp_path: Path) -> None:
    images, strength_N, texts = stripes(60, seed=5)
    plain = rated(images, strength_N, texts)
    nothing = replace(plain, given=[ConditioningFeatures()] * len(images))
    written = []
    for ratings in (plain, nothing):
        model = RewardModel(backbone(), CONFIG).fit(ratings, measured=False)
        model.save(tmp_path / "model")
        written.append((tmp_path / "model").read_bytes())
    assert written[0] == written[1]
    assert b'"given"' not in written[0]


def test_a_saved_model_knows_masks_and_records_again(tmp_path: Path) -> None:
    images, given, good = lesions(60, seed=6)
    given = [replace(each, record={"age": n, "sex": "F"}) for n, each in enumerate(given)]
    model = RewardModel(backbone(), CONFIG).fit(rated_lesions(given, images, good), measured=False)
    model.save(tmp_path / "model")
    again = RewardModel.load(tmp_path / "model", backbone())
    asked = (images, ["Stripes"] * 60, ["lesion"] * 60, given)
    assert torch.equal(model.predict(*asked)[0], again.predict(*asked)[0])


def test_likeness_of_given_things_is_worked_out_by_hand() -> None:
    seen = [
        ConditioningFeatures({"mask": torch.tensor([0.0, 4.0])}, {"age": 40}),
        ConditioningFeatures({"mask": torch.tensor([2.0, 0.0])}, {"age": 60}),
        ConditioningFeatures(),
    ]
    code = ConditioningCode.learned(seen)
    assert code is not None
    alike = code.likeness(code(seen), code(seen))
    of_masks = torch.exp(torch.tensor(-4.0) / (2 * 1.4**2))  # 2 standard deviations in each feature
    of_ages = torch.exp(torch.tensor(-4.0) / 2)
    assert alike[0, 1] == pytest.approx(float(of_masks + of_ages) / 2, rel=1e-5)
    assert alike[0].tolist()[::2] == [1.0, 0.0]  # itself; one that was given nothing
    assert alike[2, 2] == 1.0
