"""Figures of translated pictures against scikit-image, plain loops and arithmetic by hand."""

import numpy as np
import pytest
import torch

from benchmarks.translation.drawable import can_be_drawn
from curate.translation import scores
from curate.translation.heads import LOOKUPS, TISSUES, MadeUpHeads


def pictures(seed: int, height: int = 24, width: int = 17) -> np.ndarray:
    draws = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = 0.5 + 0.3 * np.sin(x / 3 + seed) * np.cos(y / 4)
    return np.asarray((waves + draws.normal(0, 0.05, y.shape)).clip(0, 1))


@pytest.mark.apart
def test_ssim_and_psnr_are_scikit_images() -> None:
    metrics = pytest.importorskip("skimage.metrics", reason="the extra [peers] is not installed")
    first, second = pictures(0), pictures(1)
    both = torch.from_numpy(first)[None], torch.from_numpy(second)[None]
    expected = metrics.structural_similarity(
        first, second, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert scores.ssim(*both).item() == pytest.approx(expected, abs=1e-6)
    expected = metrics.peak_signal_noise_ratio(first, second, data_range=1)
    assert scores.psnr(*both).item() == pytest.approx(expected, abs=1e-6)
    assert scores.squared_error(*both).item() == pytest.approx(((first - second) ** 2).mean())


def test_gmsd_is_the_deviation_of_a_plain_loop() -> None:
    first, second = pictures(0, 12, 10), pictures(1, 12, 10)

    def magnitudes(image: np.ndarray) -> np.ndarray:
        halved = image.reshape(6, 2, 5, 2).mean(axis=(1, 3))
        padded = np.pad(halved, 1)
        found = np.zeros((6, 5))
        for y in range(6):
            for x in range(5):
                window = padded[y : y + 3, x : x + 3]
                across = (window[:, 0] - window[:, 2]).sum() / 3
                down = (window[0] - window[2]).sum() / 3
                found[y, x] = np.hypot(across, down)
        return found

    m1, m2 = magnitudes(first), magnitudes(second)
    c = 170 / 255**2
    expected = ((2 * m1 * m2 + c) / (m1**2 + m2**2 + c)).std()
    found = scores.gradient_deviation(torch.from_numpy(first)[None], torch.from_numpy(second)[None])
    assert found.item() == pytest.approx(expected, abs=1e-6)
    same = scores.gradient_deviation(torch.from_numpy(first)[None], torch.from_numpy(first)[None])
    assert same.item() == pytest.approx(0, abs=1e-6)


def test_dice_is_twice_what_is_shared() -> None:
    first, second = torch.tensor([[[1, 1, 0, 2]]]), torch.tensor([[[1, 0, 0, 2]]])
    assert scores.dice(first, second, 1).item() == pytest.approx(2 / 3)
    assert scores.dice(first, second, 2).item() == 1
    assert scores.dice(first, second, 5).item() == 1  # neither has it


@pytest.mark.parametrize("modality", ["PD", "T2", "inverted"])
def test_no_random_contrast_leads_to_a_modality_that_is_tested_on(modality: str) -> None:
    learned, asked = torch.tensor(LOOKUPS["T1"]), torch.tensor(LOOKUPS[modality])
    assert not can_be_drawn(learned, asked)


def test_made_up_heads_are_their_seeds_and_of_six_tissues() -> None:
    heads, again, other = (MadeUpHeads.made_up(3, 32, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(heads.shares, again.shares)
    assert not np.array_equal(heads.shares, other.shares)
    np.testing.assert_allclose(heads.shares.sum(axis=1), 1, atol=1e-6)
    assert all(set(np.unique(labels)) == set(range(len(TISSUES))) for labels in heads.labels)
    shown = heads.pictures(LOOKUPS["PD"], seed=4)
    white = shown[heads.shares[:, TISSUES.index("white")] == 1]
    assert white.mean() == pytest.approx(0.60, abs=0.01)  # the look-up's level
    shaded = heads.pictures(LOOKUPS["PD"], seed=4, bias=0.3)
    assert shaded[heads.shares[:, TISSUES.index("white")] == 1].std() > 3 * white.std()
