import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from torch.nn import functional
from torchmetrics.image.fid import FrechetInceptionDistance

from curate.evaluation.fidelity import (
    bounded_mmd,
    compact,
    frechet,
    frechet_of_many,
    inception_score,
    kid,
    manifolds,
    of_halves,
)
from curate.evaluation.privacy import auc, membership_auc
from curate.evaluation.retrieval import precision_at_10


def normal(num: int, dims: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(num, dims, generator=torch.Generator().manual_seed(seed))


def test_the_frechet_distance_is_torchmetrics_on_a_network_of_ones_own() -> None:
    class Flat(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.double().flatten(1)[:, :12] / 255

    images = (255 * torch.rand(160, 3, 4, 4, generator=torch.Generator().manual_seed(1))).byte()
    theirs = FrechetInceptionDistance(
        feature=Flat(), input_img_size=(3, 4, 4), antialias=False
    ).set_dtype(torch.float64)
    theirs.update(images[:90], real=True)
    theirs.update(images[90:], real=False)
    ours = frechet(Flat()(images[90:]), Flat()(images[:90]))
    assert ours == pytest.approx(float(theirs.compute()), rel=1e-4)


def test_the_frechet_distance_is_0_to_itself_and_rises_with_blur() -> None:
    images = normal(120, 400).reshape(-1, 1, 20, 20)
    assert abs(frechet(images.flatten(1)[:, :30], images.flatten(1)[:, :30])) < 1e-6
    steps = []
    for width in (1, 3, 5, 7):
        kernel = torch.ones(1, 1, width, width) / width**2
        blurred = functional.conv2d(images, kernel, padding=width // 2)
        steps.append(frechet(blurred[..., 5:15, 5:15].flatten(1)[:, :30], normal(120, 30, 5)))
    assert steps == sorted(steps) and steps[0] < 0.6 * steps[1]


def test_extrapolated_to_many_images_equal_sets_have_distance_0() -> None:
    first, second = normal(400, 40, 1), normal(400, 40, 2)
    plain, many = (of_halves(f, first, second) for f in (frechet, frechet_of_many))
    assert plain.value > 1  # small samples alone make that
    assert many.low < 0 < many.high and abs(many.value) < plain.value / 3


def test_fewer_images_than_features_are_compared_on_axes_that_they_can_carry() -> None:
    small, real = compact(normal(40, 100, 1), normal(60, 100, 2))
    assert small.shape == (40, 10) and real.shape == (60, 10)
    assert compact(normal(40, 20, 1), normal(60, 20, 2))[0].shape == (40, 20)


def test_kid_and_its_bounded_sister_hold_0_for_halves_and_one_outlier_moves_only_kid() -> None:
    first, second = normal(200, 16, 1), normal(200, 16, 2)
    assert kid(first, second).low < 0 < kid(first, second).high
    bounded = of_halves(bounded_mmd, first, second)
    assert bounded.low < 0 < bounded.high
    shifted = bounded_mmd(first + 1, second)
    outlier = torch.cat([first[1:], torch.full((1, 16), 60.0)])
    assert bounded_mmd(outlier, second) < 0.1 * shifted
    spoiled = kid(outlier, second)
    assert spoiled.high - spoiled.low > 10 * kid(first + 1, second).value


def test_the_inception_score_runs_from_1_to_the_number_of_classes() -> None:
    assert inception_score(torch.eye(19).repeat(5, 1)) == pytest.approx(19)
    assert inception_score(torch.eye(19)[:1].repeat(5, 1)) == pytest.approx(1)
    halves = torch.tensor([[0.9, 0.1], [0.1, 0.9]])  # exp(ln 2 - H(0.9)) = 2 / exp(0.325083)
    assert inception_score(halves) == pytest.approx(2 / np.exp(0.3250829734))


def test_precision_recall_density_and_coverage_are_their_definitions() -> None:
    """Worked out with scikit-learn's neighbours, point by point."""
    real, made = normal(60, 4, 1).double().numpy(), 0.7 * normal(50, 4, 2).double().numpy() + 0.3
    k = 5
    reach = NearestNeighbors(n_neighbors=k + 1).fit(real).kneighbors(real)[0][:, -1]
    own = NearestNeighbors(n_neighbors=k + 1).fit(made).kneighbors(made)[0][:, -1]
    gaps = np.linalg.norm(real[:, None] - made[None], axis=2)
    found = manifolds(torch.from_numpy(made), torch.from_numpy(real), k=k)
    assert found.precision == pytest.approx((gaps <= reach[:, None]).any(0).mean())
    assert found.recall == pytest.approx((gaps <= own[None]).any(1).mean())
    assert found.density == pytest.approx((gaps <= reach[:, None]).sum(0).mean() / k)
    assert found.coverage == pytest.approx((gaps.min(1) <= reach).mean())


def test_half_the_modes_missing_lowers_recall_and_coverage_not_precision() -> None:
    centres = torch.tensor([[0.0, 0.0], [20.0, 0.0]])
    real = normal(200, 2, 1) + centres.repeat(100, 1)
    all_modes, one = normal(200, 2, 2) + centres.repeat(100, 1), normal(200, 2, 3)
    whole, half = manifolds(all_modes, real), manifolds(one, real)
    assert whole.coverage >= 0.95 and manifolds(real, real).coverage == 1
    assert half.recall < whole.recall - 0.3 and half.precision > whole.precision - 0.1


def test_the_auc_is_scikit_learns_and_its_interval_hanley_and_mcneils() -> None:
    random = np.random.default_rng(0)
    scores, labels = random.integers(0, 9, 80) / 3, random.integers(0, 2, 80)
    scores = scores + labels
    found = auc(torch.tensor(scores[labels == 1]), torch.tensor(scores[labels == 0]))
    assert found.value == pytest.approx(roc_auc_score(labels, scores))
    perfect = auc(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0]))
    assert (perfect.value, perfect.low, perfect.high) == (1, 1, 1)


def test_a_generator_that_memorised_a_tenth_of_its_images_is_found() -> None:
    """200 training images; of 2,000 generated ones 200 are each one of them, slightly changed."""
    train, held_out = normal(200, 32, 1), normal(200, 32, 2)
    fresh = normal(1800, 32, 3)
    leak = torch.cat([fresh, train + 0.05 * normal(200, 32, 4)])
    found = membership_auc(leak, train, held_out)
    assert found.value >= 0.9 and found.low > 0.9
    untouched = [
        membership_auc(fresh, normal(200, 32, 10 + n), normal(200, 32, 20 + n)) for n in range(10)
    ]
    assert sum(one.low < 0.5 < one.high for one in untouched) >= 8
    assert abs(np.mean([one.value for one in untouched]) - 0.5) < 0.03


def test_features_that_know_nothing_retrieve_at_chance() -> None:
    labels = ["a", "b", "c", "d"] * 50
    hits = precision_at_10(normal(200, 16, 1), labels, normal(200, 16, 2), labels)
    assert abs(hits.mean() - 0.25) < 0.03
    places = torch.tensor([("abcd").index(label) for label in labels])
    known = functional.one_hot(places, 4) + 0.1 * normal(200, 4)
    assert precision_at_10(known, labels, known, labels).mean() > 0.95
