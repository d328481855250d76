"""Random look-ups: what they do to an image, and what they can never do."""

import numpy as np
import torch

from benchmarks.translation.drawable import can_be_drawn
from generators.translation.contrast import (
    KNOTS,
    _look_up,
    _random_lookups,
    random_contrast,
)


def test_a_look_up_is_numpys_interpolation_between_knots() -> None:
    draws = torch.Generator().manual_seed(0)
    images, levels = torch.rand(2, 1, 5, 7, generator=draws), torch.rand(2, KNOTS, generator=draws)
    found = _look_up(images, levels)
    for row in range(2):
        expected = np.interp(images[row], np.linspace(0, 1, KNOTS), levels[row])
        np.testing.assert_allclose(found[row].numpy(), expected, atol=1e-6)


def test_look_ups_follow_the_global_seed_and_most_keep_the_background_dark() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        levels = _random_lookups(2000)
        torch.manual_seed(3)
        assert torch.equal(_random_lookups(2000), levels)
        image = torch.linspace(0, 1, 64).view(1, 1, 8, 8).expand(4, 1, 8, 8)
        shown = random_contrast(image)
    assert 0.78 < (levels[:, 0] < 0.1).double().mean() < 0.86
    rising = (levels[:, 1:].diff(dim=1) >= 0).all(dim=1).double().mean().item()
    assert 0.13 < rising < 0.18  # half of the monotone ones, and 1 in 120 of the others
    assert shown.min() >= 0 and shown.max() <= 1 and (shown[0] - shown[1]).abs().max() > 0.1


def test_what_can_be_drawn_is_never_steeper_than_from_knot_to_knot() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        levels = _random_lookups(50)
    tissues = torch.tensor([0.0, 0.08, 0.16, 0.48, 0.78, 0.85])
    for row in levels:
        assert can_be_drawn(tissues, _look_up(tissues.view(1, 1, 1, -1), row[None]).flatten())
    assert not can_be_drawn(torch.tensor([0.08, 0.16]), torch.tensor([0.1, 0.9]))  # too steep
    bent = torch.tensor([0.02, 0.06, 0.1])
    assert not can_be_drawn(bent, torch.tensor([0.1, 0.3, 0.1]))  # no line between two knots
    assert can_be_drawn(bent, torch.tensor([0.1, 0.2, 0.3]))
