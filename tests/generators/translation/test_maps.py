"""Local mutual information and MIND against plain loops, scikit-learn and arithmetic by hand."""

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor

from generators.translation.maps import (
    _histogram_entropies,
    _mirrored_margin,
    _renyi_entropies,
    local_mutual_information,
    mutual_information,
    self_similarity,
)


def pictures(height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two smooth pictures of one structure and different contrast, with a little noise."""
    draws = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    structure = (
        0.5 + 0.3 * np.sin(x / 2.3) * np.cos(y / 3.1) + draws.normal(0, 0.03, (height, width))
    )
    other = 1 - structure**2 + draws.normal(0, 0.02, (height, width))
    both = torch.from_numpy(np.stack([structure, other])).clamp(0, 1).float()
    return both[:1, None], both[1:, None]


def reflected(index: int, side: int) -> int:
    while not 0 <= index < side:
        index = -index if index < 0 else 2 * (side - 1) - index
    return index if side > 1 else 0


def patch_at(image: np.ndarray, y: int, x: int, patch: int) -> list[float]:
    r = patch // 2
    height, width = image.shape
    return [
        255 * float(image[reflected(y + dy, height), reflected(x + dx, width)])
        for dy, dx in product(range(-r, r + 1), repeat=2)
    ]


def renyi_by_loop(first: list[float], second: list[float], width: float) -> float:
    def bits(*values: list[float]) -> float:
        num = len(values[0])
        total = 0.0
        for i, j in product(range(num), repeat=2):
            total += math.exp(-sum((v[i] - v[j]) ** 2 for v in values) / (4 * width**2))
        return -math.log2(total / num**2)

    h1, h2, h12 = bits(first), bits(second), bits(first, second)
    return 2 * (h1 + h2 - h12) / (h1 + h2 + 1e-6)


def histogram_by_loop(first: list[float], second: list[float], width: float) -> float:
    bins = round(len(first) ** 1.5)
    centres = [255 * b / (bins - 1) for b in range(bins)]

    def kernel(value: float) -> list[float]:
        return [math.exp(-(((value - c) / width) ** 2) / 2) for c in centres]

    k1, k2 = np.array([kernel(v) for v in first]), np.array([kernel(v) for v in second])

    def bits(weights: np.ndarray) -> float:
        shares = weights.ravel() / weights.sum()
        shares = shares[shares > 0]
        return float(-(shares * np.log2(shares)).sum())

    h1, h2, h12 = bits(k1.mean(0)), bits(k2.mean(0)), bits(k1.T @ k2)
    return 2 * (h1 + h2 - h12) / (h1 + h2 + 1e-6)


@pytest.mark.parametrize("patch", [3, 5])
@pytest.mark.parametrize(
    ("estimator", "score", "width"),
    [("renyi", renyi_by_loop, 16.0), ("histogram", histogram_by_loop, 8.0)],
)
def test_a_map_is_what_a_plain_loop_over_patches_gives(
    patch: int, estimator: str, score: Callable[..., float], width: float
) -> None:
    height, length = (6, 5) if patch == 3 else (4, 3)
    source, target = (image.double() for image in pictures(height, length))
    found = local_mutual_information(source, target, patch, estimator=estimator)
    r = patch // 2
    for y, x in product(range(height), range(length)):
        here = patch_at(source[0, 0].numpy(), y, x, patch)
        best = max(
            score(here, patch_at(target[0, 0].numpy(), y + dy, x + dx, patch), width)
            for dy, dx in product(range(-r, r + 1), repeat=2)
        )
        assert found[0, 0, y, x].item() == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("estimator", ["renyi", "histogram"])
@pytest.mark.parametrize("normalised", [True, False])
def test_bands_of_rows_give_the_whole_map(estimator: str, normalised: bool) -> None:
    source, target = pictures(13, 9)
    maps = [
        local_mutual_information(
            source, target, estimator=estimator, normalised=normalised, rows=rows
        )
        for rows in (None, 1, 5)
    ]
    assert maps[0].shape == source.shape
    torch.testing.assert_close(maps[1], maps[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(maps[2], maps[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("estimator", ["renyi", "histogram"])
def test_gradients_are_finite_and_reach_every_pixel(estimator: str) -> None:
    source, target = (image.clone().requires_grad_() for image in pictures(8, 11))
    local_mutual_information(source, target, estimator=estimator).sum().backward()
    for image in (source, target):
        assert image.grad is not None and bool(image.grad.isfinite().all())
        assert (image.grad != 0).double().mean() > 0.97  # a patch that is nowhere the best has none


@pytest.mark.parametrize("estimator", ["renyi", "histogram"])
def test_a_gradient_is_the_slope_of_finite_differences(estimator: str) -> None:
    source, target = (image.double() for image in pictures(6, 6, seed=3))
    target.requires_grad_()
    local_mutual_information(source, target, estimator=estimator).sum().backward()
    with torch.no_grad():
        step = torch.zeros_like(target)
        step[0, 0, 2, 3] = 1e-6
        up, down = (
            local_mutual_information(source, target + sign * step, estimator=estimator).sum()
            for sign in (1, -1)
        )
    assert target.grad is not None
    assert target.grad[0, 0, 2, 3].item() == pytest.approx(((up - down) / 2e-6).item(), rel=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 3), (33, 5)])
def test_maps_of_flat_and_tiny_images_are_finite_as_are_their_gradients(
    size: tuple[int, int],
) -> None:
    for patch, estimator in ((3, "renyi"), (5, "renyi"), (3, "histogram")):
        flat = torch.full((1, 1, *size), 0.4, requires_grad=True)
        found = local_mutual_information(flat, flat, patch, estimator=estimator)
        found.sum().backward()
        assert bool(found.isfinite().all()) and found.shape == flat.shape
        assert flat.grad is not None and bool(flat.grad.isfinite().all())
    flat = torch.full((1, 1, *size), 0.4, requires_grad=True)
    described = self_similarity(flat)
    described.sum().backward()
    assert torch.equal(described, torch.ones_like(described))
    assert flat.grad is not None and bool(flat.grad.isfinite().all())


def test_inversion_changes_no_map_not_even_at_the_border() -> None:
    source, target = pictures(16, 16)
    as_it_is = local_mutual_information(source, target)
    torch.testing.assert_close(
        local_mutual_information(1 - source, target), as_it_is, atol=1e-4, rtol=0
    )
    torch.testing.assert_close(
        self_similarity(1 - source), self_similarity(source), atol=1e-4, rtol=0
    )


def test_the_best_of_the_neighbourhood_follows_a_shift_of_one_pixel() -> None:
    source, _ = pictures(12, 12)
    moved = torch.roll(source, 1, dims=3)
    inside = (..., slice(3, -3), slice(3, -3))
    still = local_mutual_information(source, source)[inside]
    torch.testing.assert_close(
        local_mutual_information(source, moved)[inside], still, atol=2e-2, rtol=0
    )


def test_a_margin_is_torchs_reflect_padding_where_that_has_one() -> None:
    image = torch.rand(2, 1, 5, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(
        _mirrored_margin(image, 3), torch.nn.functional.pad(image, (3, 3, 3, 3), mode="reflect")
    )


def test_whole_images_share_what_scikit_learn_says_of_hard_bins() -> None:
    source, target = pictures(64, 64)
    bins = [(image.flatten() * 32).floor().clamp(0, 31).int().numpy() for image in (source, target)]
    expected = normalized_mutual_info_score(*bins)
    assert 0.1 < expected < 0.9
    assert mutual_information(source, target).item() == pytest.approx(expected, abs=0.05)
    assert mutual_information(source, source).item() == pytest.approx(1.0, abs=0.1)
    inverted = mutual_information(1 - source, target).item()
    assert inverted == pytest.approx(mutual_information(source, target).item(), abs=0.01)


def test_independent_noise_shares_next_to_nothing() -> None:
    draws = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 1, 128, 128, generator=draws)
    assert mutual_information(first, second).item() < 0.05


@pytest.mark.parametrize("patch", [3, 5])
def test_descriptors_are_those_of_a_plain_loop(patch: int) -> None:
    source = pictures(5, 6)[0].double()
    image, r = source[0, 0].numpy(), patch // 2
    found = self_similarity(source, patch)[0]
    for y, x in product(range(5), range(6)):
        here = np.array(patch_at(image, y, x, patch)) / 255
        neighbours = [n for n in product(range(-r, r + 1), repeat=2) if n != (0, 0)]
        far = [
            float(((np.array(patch_at(image, y + dy, x + dx, patch)) / 255 - here) ** 2).mean())
            for dy, dx in neighbours
        ]
        alike = np.exp(-np.array(far) / (np.mean(far) + (0.01 / 255) ** 2))
        np.testing.assert_allclose(found[:, y, x].numpy(), alike / alike.max(), atol=1e-5)


def test_an_even_patch_and_three_channels_are_refused() -> None:
    image = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match="odd number"):
        local_mutual_information(image, image, 4)
    with pytest.raises(ValueError, match="B, 1, H, W"):
        local_mutual_information(image.expand(1, 3, 4, 4), image.expand(1, 3, 4, 4))


def test_a_patch_of_two_far_values_has_the_entropy_of_a_coin() -> None:
    stripes = torch.tensor([0.0, 255.0] * 3).expand(6, 6)[None, None]  # grey levels, 3 x 3 patches
    share = 1 / 3  # a column of three, or two of them
    expected = -math.log2(share**2 + (1 - share) ** 2)
    of_source, of_target, joint = _renyi_entropies(
        stripes[..., :3, :3], stripes[..., :5, :5], 3, 16
    )
    assert of_source.item() == pytest.approx(expected, abs=1e-5)
    torch.testing.assert_close(of_target, torch.full_like(of_target, expected))
    torch.testing.assert_close(joint, torch.full_like(joint, expected))  # nothing but the source's
    shannon = -share * math.log2(share) - (1 - share) * math.log2(1 - share)
    narrow = _histogram_entropies(stripes[..., :3, :3], stripes[..., :5, :5], 3, 1.0)
    assert narrow[0].item() == pytest.approx(shannon, abs=1e-5)
