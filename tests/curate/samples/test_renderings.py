import numpy as np
import pytest
import torch

from curate.samples.renderings import eight_bits, montage, rgb, slices
from generators.sample import Sample

STEPS = np.arange(8, dtype=np.int16).reshape(1, 8, 1, 1)  # a volume whose slices are its numbers


def test_grey_is_repeated_and_uses_its_range() -> None:
    eight = rgb(Sample(np.array([[[0, 51, 255]]], np.uint8)))
    deep = rgb(Sample(np.array([[[0, 13107, 65535]]], np.uint16)))
    assert eight.shape == (3, 1, 3)
    assert eight[2].tolist() == deep[0].tolist() == [[0.0, np.float32(0.2), 1.0]]


def test_hu_are_shown_by_a_window() -> None:
    sample = Sample(np.array([[[-2000, -1000, -600, 0, 150]]], np.int16), "HU")
    assert rgb(sample)[0, 0].tolist() == pytest.approx([0, 0, 0.2, 0.5, 0.575])
    lung = rgb(sample, window="lung")[1, 0].tolist()  # -1,350 .. 150
    assert lung == pytest.approx([0, 350 / 1500, 0.5, 0.9, 1])


def test_each_class_has_a_colour_of_its_own_whatever_else_is_there() -> None:
    four = rgb(Sample(np.arange(4, dtype=np.uint8).reshape(1, 2, 2), "labels"))
    colours = {tuple(colour) for colour in four.flatten(1).T.tolist()}
    assert len(colours) == 4
    assert four[:, 0, 0].tolist() == [0, 0, 0]
    assert four.flatten(1).amax(0)[1:].tolist() == [1, 1, 1]  # bright: no class is nearly black
    alone = rgb(Sample(np.full((1, 1, 1), 3, np.uint16), "labels"))
    assert torch.equal(alone[:, 0, 0], four[:, 1, 1])


def test_a_volume_is_no_single_picture() -> None:
    with pytest.raises(ValueError, match="no single picture"):
        rgb(Sample(np.zeros((1, 4, 8, 8), np.uint8)))


def test_slices_are_spread_over_the_depth() -> None:
    volume = Sample((STEPS * 10).astype(np.uint8))
    assert (slices(volume, 4)[:, 0, 0, 0] * 255).round().tolist() == [10, 30, 50, 70]
    assert len(slices(volume, 99)) == 8
    assert len(slices(Sample(np.zeros((1, 4, 4), np.uint8)), 4)) == 1


def test_a_montage_shows_slices_in_rows() -> None:
    volume = Sample(np.broadcast_to(STEPS * 10, (1, 8, 2, 3)).astype(np.uint8))
    shown = montage(volume)
    assert shown.shape == (3, 6, 9)  # 8 slices of 2 x 3 in 3 rows of 3, the ninth black
    levels = eight_bits(shown)[::2, ::3]
    assert levels.tolist() == [[0, 10, 20], [30, 40, 50], [60, 70, 0]]


def test_a_pictures_montage_is_the_picture() -> None:
    sample = Sample(np.random.default_rng(0).integers(0, 255, (3, 5, 4), np.uint8))
    assert torch.equal(montage(sample), rgb(sample))
