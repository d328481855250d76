"""Settings of a family that is begun, and patches of what is larger than it trains on."""

import numpy as np
import pytest
import torch

from generators import registry
from generators.base import Prompt
from generators.beginning import Beginning, read_settings
from generators.errors import GeneratorError
from generators.sample import Sample
from generators.training.config import TrainingConfig
from generators.training.lesson import cut, cut_prompt
from tests.toys.begun import Settings


def test_a_familys_settings_are_read_as_their_types() -> None:
    written = {"width": "8", "patch": "4, 8,8", "low": "-900"}
    assert read_settings(Settings, "toy", written) == Settings(8, (4, 8, 8), -900.0)
    assert read_settings(Settings, "toy", {"low": "none"}) == Settings()


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"height": "3"}, r"no setting 'height'. It has: width \(Channels inside\), patch"),
        ({"width": "wide"}, "Setting width of family 'toy' cannot be 'wide'. Channels inside"),
    ],
)
def test_a_setting_that_cannot_be_says_what_can(written: dict[str, str], says: str) -> None:
    with pytest.raises(GeneratorError, match=says):
        read_settings(Settings, "toy", written)


def test_a_family_that_is_only_opened_is_not_begun() -> None:
    with pytest.raises(GeneratorError, match="'text-to-image' cannot be begun"):
        registry.create("text-to-image", {}, Beginning([]))


def test_a_patch_lies_at_its_place_and_its_mask_over_it() -> None:
    volume = torch.arange(5 * 6 * 7, dtype=torch.float32).view(1, 5, 6, 7)
    mask = volume[0, :, :, :].numpy().astype(np.uint16)[None]
    prompt = Prompt("ChestCT", "", images={"mask": Sample(mask, "labels")})
    for within in ((0.0, 0.0, 0.0), (0.99, 0.5, 0.2)):
        patch = cut(volume, (3, 4, 7), within)
        assert np.array_equal(cut_prompt(prompt, (3, 4, 7), within).images["mask"].array, patch)
    assert torch.equal(patch, volume[:, 2:5, 1:5])  # (5 - 3 + 1) .99 = 2.97, (6 - 4 + 1) .5 = 1.5


def test_an_axis_that_is_too_short_is_filled_with_its_border() -> None:
    patch = cut(torch.tensor([[1.0, 2.0, 3.0]]), (6,), (0.7,))
    assert patch.tolist() == [[1, 1, 2, 3, 3, 3]]


def test_settings_of_later_are_stored_where_they_are_used() -> None:
    assert "noisy_share" not in TrainingConfig().to_json()
    config = TrainingConfig(noisiest_share=0.25, noisy_share=0.5)
    assert TrainingConfig.from_json(config.to_json()) == config
