from dataclasses import replace

import pytest
import torch

from generators.acceleration import accelerate, networks
from generators.base import Prompt
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator, decode, sample
from generators.errors import GeneratorError

PLAIN = SamplingSettings(num_steps=2, batch_size=2)
LAID_OUT = SamplingSettings(num_steps=2, batch_size=2, channels_last=True)


def images(generator: DiffusionGenerator, settings: SamplingSettings) -> torch.Tensor:
    conditions = generator.conditioner([Prompt("OCT", "drusen")] * 2)
    with torch.inference_mode():
        return decode(generator, sample(generator, conditions, [0, 1], settings), 2)


def test_ways_to_be_faster_are_named_only_where_they_are_used() -> None:
    """Else images made before the ways were known would have other keys, and be made again."""
    assert set(PLAIN.to_json()) == {
        *("num_steps", "guidance", "sampler", "eta", "batch_size", "dtype")
    }
    assert LAID_OUT.to_json()["channels_last"] is True
    for settings in (PLAIN, LAID_OUT):
        assert SamplingSettings.from_json(settings.to_json()) == settings


def test_another_memory_layout_changes_at_most_the_last_bit_of_few_pixels(
    tiny_generator: DiffusionGenerator,
) -> None:
    before = images(tiny_generator, PLAIN)
    accelerate(tiny_generator, LAID_OUT)
    weights = [w for n in networks(tiny_generator) for w in n.parameters() if w.dim() == 4]
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)
    levels = (255 * before).round() - (255 * images(tiny_generator, LAID_OUT)).round()
    assert levels.abs().max() <= 1
    assert (levels == 0).float().mean() > 0.99


def test_plain_settings_leave_a_generator_as_it_is(tiny_generator: DiffusionGenerator) -> None:
    before = images(tiny_generator, PLAIN)
    assert torch.equal(images(accelerate(tiny_generator, PLAIN), PLAIN), before)


def test_a_decoder_precision_that_nobody_knows_is_refused() -> None:
    with pytest.raises(GeneratorError, match="float16"):
        SamplingSettings(decoder_dtype="float16")


def test_without_a_compiler_compiling_is_refused_in_words(
    tiny_generator: DiffusionGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(GeneratorError, match="no no-such-compiler"):
        accelerate(tiny_generator, replace(PLAIN, compile=True))
