"""The family "translation": what it is shown, that all who ask it agree, what it refuses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from generators import registry
from generators.base import Conditions, Prompt
from generators.beginning import Beginning
from generators.config import SamplingSettings
from generators.diffusion.rollout import rollout
from generators.errors import GeneratorError
from generators.families.translation import TRAINING, Translator, create, load
from generators.sample import Sample
from generators.training.lesson import Example, Lesson, Pool
from generators.training.loop import train
from generators.translation.config import TranslationSettings
from generators.translation.denoiser import TranslationDenoiser
from tests.generators.replayed import log_prob_again

TINY = TranslationSettings(size=16, channels=(8, 16), shows=("contrast", "cross", "self", "mind"))
SETTINGS = SamplingSettings(num_steps=4, batch_size=2)


def begun(settings: TranslationSettings = TINY) -> Translator:
    """An untrained translator whose last layer is not all zeros."""
    generator = create(settings, Beginning(()))
    draws = torch.Generator().manual_seed(0)
    generator.denoiser.network.conv_out.weight.data.normal_(0, 0.05, generator=draws)
    return generator


def pictures(count: int = 2) -> np.ndarray:
    y, x = np.mgrid[:16, :16] / 15
    return np.stack([0.5 + 0.4 * np.sin(5 * x + i) * np.cos(4 * y) for i in range(count)]).astype(
        np.float32
    )


def prompts(count: int = 2) -> list[Prompt]:
    return [Prompt("T1", "", images={"source": Sample(one[None])}) for one in pictures(count)]


@pytest.mark.parametrize(
    "shows", [("contrast",), ("cross", "self"), ("mind",), ("contrast", "cross", "self"), ()]
)
def test_recomputed_log_probabilities_are_those_of_the_rollout(shows: tuple[str, ...]) -> None:
    generator = begun(replace(TINY, shows=shows))
    conditions = generator.condition(prompts()).without("start")
    taken = rollout(generator, conditions, [3, 4], SETTINGS)
    for step in range(3):
        again = log_prob_again(generator, conditions, taken, step, SETTINGS)
        torch.testing.assert_close(again, taken.log_probs_BK[:, step], rtol=0, atol=1e-5)


def test_the_cross_map_is_computed_anew_from_each_noisy_image() -> None:
    denoiser = TranslationDenoiser(
        torch.nn.Identity(), replace(TINY, shows=("cross",)), begun().process
    )
    noisy, source = torch.rand(2, 1, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    first = denoiser.shown(noisy, source)
    assert (denoiser.shown(source, source) - first).abs().max() > 0.1


def test_one_seed_gives_one_image_whatever_stands_beside_it() -> None:
    generator = begun()
    conditions = generator.condition(prompts(3))
    together = generator.generate(conditions.without("start"), [5, 5, 5], SETTINGS)
    alone = generator.generate(conditions.without("start").select([1]), [5], SETTINGS)
    assert torch.equal(together[1], alone[0])
    assert (together[0] - together[1]).abs().max() > 1e-3  # one noise, two sources


def test_a_saved_translator_opens_as_what_it_was(tmp_path: Path) -> None:
    generator = begun()
    generator.save(tmp_path)
    assert registry.family_of(tmp_path) == "translation"
    opened = registry.load("translation", tmp_path)
    conditions = generator.condition(prompts()).without("start")
    assert torch.equal(
        opened.generate(conditions, [1, 2], SETTINGS),
        generator.generate(conditions, [1, 2], SETTINGS),
    )


def test_without_a_source_it_samples_freely_and_from_one_as_sdedit_does() -> None:
    generator = begun()
    nothing = generator.condition([Prompt("T1", "")])
    assert "start" not in nothing.parts
    free = generator.generate(nothing, [1], SETTINGS)
    assert free.shape == (1, 1, 16, 16)
    started = generator.condition(prompts(1))
    barely = generator.generate(started, [1], replace(SETTINGS, num_steps=50, strength=0.02))
    assert (barely[0] - torch.from_numpy(pictures(1))).abs().mean() < 0.2


def test_gradients_of_the_cross_map_steer_and_are_a_constant_for_rl() -> None:
    plain, steered = begun(replace(TINY, shows=())), begun(replace(TINY, shows=(), gradient=0.3))
    conditions = plain.condition(prompts()).without("start")
    settings = replace(SETTINGS, num_steps=8)
    difference = steered.generate(conditions, [1, 2], settings) - plain.generate(
        conditions, [1, 2], settings
    )
    assert difference.abs().max() > 1e-3
    taken = rollout(steered, conditions, [3, 4], SETTINGS)
    steered.denoiser.requires_grad_(True)
    again = log_prob_again(steered, conditions, taken, 0, SETTINGS)
    torch.testing.assert_close(again, taken.log_probs_BK[:, 0], rtol=0, atol=1e-5)
    again.sum().backward()


def test_a_constant_source_gives_a_finite_image() -> None:
    generator = begun()
    flat = [Prompt("T1", "", images={"source": Sample(np.full((1, 16, 16), 0.3, np.float32))})]
    made = generator.generate(generator.condition(flat).without("start"), [0], SETTINGS)
    assert bool(made.isfinite().all())


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((1, 8, 8), np.float32), r"intensities of \[1, 16, 16\]"),
        (np.zeros((3, 16, 16), np.uint8), r"intensity of \[3, 16, 16\]"),
        (np.full((1, 16, 16), np.nan, np.float32), "NaN or infinite"),
    ],
)
def test_sources_of_another_shape_or_without_numbers_are_refused(
    array: np.ndarray, says: str
) -> None:
    with pytest.raises(GeneratorError, match=says):
        begun().condition([Prompt("T1", "", images={"source": Sample(array)})])


def test_another_familys_folder_and_impossible_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match="maps need pixels"):
        load(tmp_path)
    for wrong in ({"shows": ("maps",)}, {"patch": 4}, {"size": 17}, {"channels": (10,)}):
        with pytest.raises(GeneratorError, match="No such translator"):
            replace(TINY, **wrong)


def lesson_of_itself(count: int = 8) -> Lesson:
    latents = {str(i): torch.from_numpy(one[None]) * 2 - 1 for i, one in enumerate(pictures(count))}
    examples = [Example(name, Prompt("T1", name), "T1") for name in latents]

    def embed(prompt: Prompt) -> Conditions:
        image = latents[prompt.text]
        return Conditions.of(channels=torch.cat([image, torch.ones_like(image)])[None])

    return Lesson([Pool(examples)], [], latents.__getitem__, embed)


def test_a_training_that_was_stopped_ends_with_the_same_weights(tmp_path: Path) -> None:
    config = replace(
        TRAINING, num_steps=4, batch_size=4, micro_batch=2, checkpoint_every=2, validate_every=9
    )
    whole = train(begun(), lesson_of_itself(), config, folder=tmp_path / "whole")
    asked = iter(["run", "run", "stop"])
    train(
        begun(),
        lesson_of_itself(),
        config,
        folder=tmp_path / "parts",
        listen=lambda: next(asked, "stop"),
    )
    resumed = train(begun(), lesson_of_itself(), config, folder=tmp_path / "parts")
    for name, weight in whole.weights.named.items():
        assert torch.equal(resumed.weights.named[name], weight)
    contrasts = [config.seed, *whole.history.losses]
    assert len(set(contrasts)) == len(contrasts)
