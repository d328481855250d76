import pytest
import torch

from curate.evaluation.privacy import copy_radius, memorised_share, nearest


def test_nearest_finds_distance_and_place_across_blocks() -> None:
    train = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1)).repeat(30)
    moved = train[order] + torch.tensor([0.01] + [0.0] * 7)
    distances, places = nearest(moved, train)
    assert torch.equal(places, order)
    assert distances.tolist() == pytest.approx([0.01] * 1500, abs=1e-5)


def test_no_images_have_no_distances() -> None:
    distances, places = nearest(torch.empty(0, 8), torch.randn(5, 8))
    assert distances.shape == places.shape == (0,)


def test_the_radius_is_the_first_percentile_of_unseen_real_images() -> None:
    assert copy_radius(10 + torch.arange(101).float()) == pytest.approx(11.0)


def test_held_out_images_that_are_training_images_again_do_not_shrink_the_radius() -> None:
    unseen = 10 + torch.arange(101).float()
    copies = torch.tensor([0.0, 0.1, 1.0])
    assert copy_radius(torch.cat([copies, unseen])) == copy_radius(unseen)


def test_copies_are_counted_and_new_images_are_not() -> None:
    train = torch.eye(10)
    samples = torch.cat([train[:3] + 0.001, 5 + train])
    share = memorised_share(samples, train, radius=0.1)
    assert share.value == pytest.approx(3 / 13) and share.num == 13
    assert 0 < share.low < 3 / 13 < share.high < 1
