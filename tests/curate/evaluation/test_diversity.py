import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import correlate1d
from torch import Tensor

from curate.evaluation.diversity import ms_ssim, vendi_score

Array = NDArray[np.float64]


def _window_mean(image: Array) -> Array:
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    both = correlate1d(correlate1d(image, window, axis=0), window, axis=1)
    inside: Array = both[5:-5, 5:-5]
    return inside


def _ssim_and_structure(x: Array, y: Array) -> tuple[float, float]:
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    var_x, var_y = _window_mean(x * x) - mean_x**2, _window_mean(y * y) - mean_y**2
    covariance = _window_mean(x * y) - mean_x * mean_y
    structure = (2 * covariance + 9e-4) / (var_x + var_y + 9e-4)
    luminance = (2 * mean_x * mean_y + 1e-4) / (mean_x**2 + mean_y**2 + 1e-4)
    return float((luminance * structure).mean()), float(structure.mean())


def _halved(x: Array) -> Array:
    mean: Array = (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4
    return mean


def _reference(x: Array, y: Array) -> float:
    """Wang 2003 in numpy and scipy, three scales."""
    weights = np.array([0.0448, 0.2856, 0.3001])
    weights /= weights.sum()
    x_2, y_2 = _halved(x), _halved(y)
    factors = [
        _ssim_and_structure(x, y)[1],
        _ssim_and_structure(x_2, y_2)[1],
        _ssim_and_structure(_halved(x_2), _halved(y_2))[0],
    ]
    return float(np.prod(np.clip(factors, 0, None) ** weights))


def _pictures(count: int, channels: int = 1) -> Tensor:
    """Smooth random pictures that share a shape, so that similarity is neither 0 nor 1."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, channels, 9, 9, generator=random, dtype=torch.float64)
    shared = torch.rand(1, channels, 9, 9, generator=random, dtype=torch.float64)
    mixed = 0.5 * coarse + 0.5 * shared
    return torch.nn.functional.interpolate(mixed, size=64, mode="bilinear")


def test_ms_ssim_agrees_with_numpy_at_three_scales() -> None:
    x, y = _pictures(4)[:2], _pictures(4)[2:]
    expected = [_reference(a[0].numpy(), b[0].numpy()) for a, b in zip(x, y, strict=True)]
    assert 0.1 < expected[0] < 0.9
    assert ms_ssim(x, y).tolist() == pytest.approx(expected, abs=1e-9)


def test_equal_images_have_similarity_1_and_noise_has_almost_none() -> None:
    x = _pictures(3, channels=3)
    assert ms_ssim(x, x).tolist() == pytest.approx([1.0] * 3)
    noise = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    assert ms_ssim(noise[:1], noise[1:]).item() < 0.1


def test_more_blur_means_less_similarity() -> None:
    x = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    blurred = [torch.nn.functional.avg_pool2d(x, k, 1, k // 2) for k in (3, 5, 9)]
    values = [ms_ssim(x, b).item() for b in blurred]
    assert values[0] > values[1] > values[2]


def test_too_small_an_image_is_refused() -> None:
    small = torch.zeros(1, 1, 32, 32)
    with pytest.raises(ValueError, match="3 scales leave 8 pixels"):
        ms_ssim(small, small)


def test_the_vendi_score_counts_different_items() -> None:
    assert vendi_score(torch.eye(5)) == pytest.approx(5)
    assert vendi_score(torch.eye(5)[[2, 2, 2, 2]]) == pytest.approx(1)
    cosine = 0.6  # of two items: the kernel's eigenvalues are (1 +- c) / 2
    pair = torch.tensor([[1.0, 0.0], [cosine, (1 - cosine**2) ** 0.5]])
    shares = np.array([1 + cosine, 1 - cosine]) / 2
    assert vendi_score(pair) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
