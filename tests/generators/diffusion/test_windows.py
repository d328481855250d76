"""A large image asked about by windows: covered, exact, and as MONAI does it."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from generators.base import Conditions
from generators.config import SamplingSettings, parse_sides
from generators.diffusion.windows import _window_starts, blended
from generators.errors import GeneratorError

SIDES = (33, 47, 21)


def volume(seed: int, count: int = 1, sides: tuple[int, ...] = SIDES) -> Tensor:
    return torch.randn(count, 1, *sides, generator=torch.Generator().manual_seed(seed))


def identity(x: Tensor, t_B: Tensor, conditions: Conditions) -> Tensor:
    return x


def convolution() -> nn.Conv3d:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Conv3d(2, 1, 3, padding=1).requires_grad_(False)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
@pytest.mark.parametrize(("side", "window"), [(33, 16), (47, 16), (21, 16), (16, 16), (7, 7)])
def test_windows_cover_every_voxel_and_end_at_the_end(
    side: int, window: int, overlap: float
) -> None:
    covered = np.zeros(side, int)
    for start in _window_starts(side, window, overlap):
        assert 0 <= start <= side - window
        covered[start : start + window] += 1
    assert covered.min() >= 1


def asked(x: Tensor, ask: object, **more: object) -> Tensor:
    settings: dict = {"window": (16, 16, 16), "overlap": 0.25, "batch_size": 4} | more
    conditions = Conditions.of(channels=volume(1, len(x), tuple(x.shape[2:])))
    return blended(ask, x, torch.zeros(len(x)), conditions, **settings)  # type: ignore[arg-type]


def test_nothing_is_changed_by_what_changes_nothing() -> None:
    x = volume(0)
    assert (asked(x, identity) - x).abs().max() <= 1e-5
    assert torch.equal(asked(x, identity, window=(11, 47, 7), overlap=0.0), x)
    assert torch.equal(asked(x, identity, window=(64, 64, 64)), x)  # larger than the volume


@pytest.mark.apart
@pytest.mark.filterwarnings("ignore")  # MONAI's own
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_it_is_what_monai_does(overlap: float) -> None:
    inferers = pytest.importorskip("monai.inferers", reason="the extra [peers] is not installed")
    x, net = volume(0), convolution()

    def ask(part: Tensor, t_B: Tensor, conditions: Conditions) -> Tensor:
        answer: Tensor = net(torch.cat([part, conditions.parts["channels"]], dim=1))
        return answer

    whole = torch.cat([x, volume(1)], dim=1)
    theirs = inferers.sliding_window_inference(
        whole, (16, 16, 16), 4, net, overlap=overlap, mode="constant"
    )
    torch.testing.assert_close(asked(x, ask, overlap=overlap), theirs, rtol=0, atol=1e-5)


def test_an_images_answer_does_not_depend_on_those_beside_it() -> None:
    net = convolution()

    def ask(part: Tensor, t_B: Tensor, conditions: Conditions) -> Tensor:
        answer: Tensor = net(torch.cat([part, conditions.parts["channels"]], dim=1))
        return answer

    several = volume(0, 2, (20, 20, 20))
    together = asked(several, ask)
    channels = volume(1, 2, (20, 20, 20))
    alone = blended(
        ask,
        several[1:],
        torch.zeros(1),
        Conditions.of(channels=channels[1:]),
        window=(16, 16, 16),
        overlap=0.25,
        batch_size=4,
    )
    torch.testing.assert_close(together[1:], alone, rtol=0, atol=1e-6)


def test_a_window_is_written_by_its_sides() -> None:
    assert parse_sides("64, 64,32") == (64, 64, 32)
    with pytest.raises(GeneratorError, match="as 64,64,32"):
        parse_sides("64x64")
    with pytest.raises(GeneratorError, match="sides are 1 or more"):
        SamplingSettings(window=(0, 4))
    with pytest.raises(GeneratorError, match="for images of 3 axes"):
        asked(volume(0), identity, window=(16, 16))


def test_settings_name_windows_where_there_are_some() -> None:
    assert {"window", "overlap"}.isdisjoint(SamplingSettings().to_json())
    settings = SamplingSettings(window=(64, 64, 32), overlap=0.5)
    assert SamplingSettings.from_json(settings.to_json()) == settings
