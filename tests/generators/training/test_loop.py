import dataclasses
from collections.abc import Sequence
from pathlib import Path

import accelerate
import pytest
import torch
from accelerate import PartialState
from torch import Tensor

from generators.base import Prompt, require_trajectory
from generators.diffusion.generator import DiffusionGenerator
from generators.diffusion.process import Flow
from generators.errors import GeneratorError
from generators.families.text_to_image import load
from generators.training.checkpoint import CHECKPOINT
from generators.training.config import TrainingConfig
from generators.training.history import History
from generators.training.lesson import Example, Lesson, Pool
from generators.training.loop import Trained, train
from tests.tiny import tiny_generator as new_generator

QUICK = TrainingConfig(
    num_steps=6,
    batch_size=4,
    micro_batch=2,
    learning_rate=1e-3,
    warmup_steps=0,
    validate_every=3,
    validation_noises=2,
    checkpoint_every=2,
)


class Stopped(Exception):
    """Stands for a kill: nothing after it runs."""


def lesson(generator: DiffusionGenerator, num_images: int = 6) -> Lesson:
    source = torch.Generator().manual_seed(0)
    latents = {f"i{i}": torch.randn(4, 8, 8, generator=source) for i in range(num_images + 2)}
    examples = [
        Example(key, Prompt("OCT", "drusen" if i % 2 else "normal"), "OCT")
        for i, key in enumerate(latents)
    ]
    return Lesson(
        pools=[Pool(examples[:num_images])],
        validation=examples[num_images:],
        latents=latents.__getitem__,
        embed=lambda prompt: generator.conditioner([prompt]),
    )


def trained(config: TrainingConfig, folder: Path, stop_after: int | None = None) -> Trained:
    generator = new_generator(seed=0)

    def report(history: History) -> None:
        if history.num_steps == stop_after:
            raise Stopped

    return train(generator, lesson(generator), config, folder=folder, report=report)


def weights(result: Trained) -> list[Tensor]:
    with result.weights.at(result.weights.averages):
        return [weight.detach().clone() for weight in result.weights.named.values()]


def same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lora_rank": 2},
        {"train_text_encoder": True},
        {"dtype": "bfloat16", "gradient_checkpointing": True, "noise_offset": 0.1},
        {"prediction_type": "epsilon", "ema_decay": 0.0, "input_perturbation": 0.1},
    ],
    ids=["full", "lora", "text encoder", "bfloat16 and checkpointing", "epsilon"],
)
@pytest.mark.slow
def test_stopped_anywhere_and_begun_again_it_ends_with_the_same_bits(
    tmp_path: Path, changes: dict
) -> None:
    config = dataclasses.replace(QUICK, num_steps=4, validate_every=2, **changes)
    whole = trained(config, tmp_path / "whole")
    for stop_after in (1, 3):  # after 0 and 2 steps that were kept
        with pytest.raises(Stopped):
            trained(config, tmp_path / "stopped", stop_after)
    resumed = trained(config, tmp_path / "stopped")
    assert same(weights(whole), weights(resumed))
    assert whole.history.losses == resumed.history.losses
    assert whole.history.validations == resumed.history.validations
    assert len(whole.history.validations) == 3


def test_the_size_of_a_micro_batch_changes_memory_only(tmp_path: Path) -> None:
    small = trained(dataclasses.replace(QUICK, micro_batch=1, num_steps=1), tmp_path / "small")
    large = trained(dataclasses.replace(QUICK, micro_batch=4, num_steps=1), tmp_path / "large")
    assert small.history.losses == pytest.approx(large.history.losses, rel=1e-5)
    assert small.history.gradient_norms == pytest.approx(large.history.gradient_norms, rel=1e-4)


def test_gradient_checkpointing_changes_no_gradient(tmp_path: Path) -> None:
    without = trained(dataclasses.replace(QUICK, num_steps=1), tmp_path / "without")
    with_it = trained(
        dataclasses.replace(QUICK, num_steps=1, gradient_checkpointing=True), tmp_path / "with"
    )
    assert with_it.weights.generator.denoiser.network.is_gradient_checkpointing
    assert without.history.gradient_norms == pytest.approx(with_it.history.gradient_norms, rel=1e-5)


@pytest.mark.parametrize("flow", [False, True])
@pytest.mark.slow
def test_validation_loss_falls_on_images_like_those_learned(tmp_path: Path, flow: bool) -> None:
    generator = new_generator(seed=0)
    generator.process = Flow.from_config({"shift": 3.0}) if flow else generator.process
    one = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0))
    examples = [Example("same", Prompt("OCT", "drusen"), "OCT")]
    config = dataclasses.replace(
        QUICK,
        num_steps=40,
        micro_batch=4,
        learning_rate=3e-3,
        validate_every=40,
        drop_conditions=0.0,
    )
    told = Lesson([Pool(examples)], examples, lambda key: one, lambda p: generator.conditioner([p]))
    history = train(generator, told, config, folder=tmp_path).history
    before, after = history.validations[0], history.validations[-1]
    assert after.losses["OCT"][0] < 0.8 * before.losses["OCT"][0]


def test_the_text_encoder_learns_when_asked_and_only_then(tmp_path: Path) -> None:
    start = new_generator(seed=0).conditioner([Prompt("OCT", "drusen")]).parts["tokens"]
    for train_text_encoder in (False, True):
        config = dataclasses.replace(QUICK, train_text_encoder=train_text_encoder, num_steps=2)
        result = trained(config, tmp_path / str(train_text_encoder))
        with result.weights.at(result.weights.averages):
            prompt = Prompt("OCT", "drusen")
            learned = result.weights.generator.conditioner([prompt]).parts["tokens"]
        assert start is not None and learned is not None
        assert torch.equal(start, learned) != train_text_encoder


def test_the_moving_average_is_what_is_saved(
    tmp_path: Path, tiny_generator: DiffusionGenerator
) -> None:
    result = trained(QUICK, tmp_path / "run")
    result.weights.save_result(tmp_path / "saved")
    saved = load(tmp_path / "saved")
    with result.weights.at(result.weights.averages):
        kept = result.weights.generator.denoiser.state_dict()
        assert all(
            torch.equal(kept[key], value) for key, value in saved.denoiser.state_dict().items()
        )
    last = result.weights.generator.denoiser.state_dict()
    assert not all(
        torch.equal(last[key], value) for key, value in saved.denoiser.state_dict().items()
    )


def test_another_prediction_type_is_saved_with_the_generator(tmp_path: Path) -> None:
    result = trained(dataclasses.replace(QUICK, prediction_type="epsilon"), tmp_path)
    assert require_trajectory(result.weights.generator).process.prediction_type == "epsilon"
    assert new_generator().process.prediction_type == "v_prediction"


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    trained(QUICK, tmp_path)
    with pytest.raises(GeneratorError, match="made with other settings"):
        trained(dataclasses.replace(QUICK, learning_rate=2e-3), tmp_path)


def test_a_checkpoint_cut_short_while_written_does_no_harm(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        trained(QUICK, tmp_path, stop_after=3)
    (tmp_path / f"{CHECKPOINT}.unfinished").write_bytes(b"cut sh")
    assert trained(QUICK, tmp_path).history.num_steps == 6


def test_a_training_that_diverges_says_so(tmp_path: Path) -> None:
    generator = new_generator(seed=0)
    told = dataclasses.replace(
        lesson(generator), latents=lambda key: torch.full((4, 8, 8), float("nan"))
    )
    with pytest.raises(GeneratorError, match="diverged. Lower"):
        train(generator, told, QUICK, folder=tmp_path)


def two_processes(folder: Path) -> None:
    """Run in each of two processes."""
    torch.set_num_threads(1)
    PartialState._reset_state()  # a fork inherits what this session's tests began, alone
    result = trained(dataclasses.replace(QUICK, num_steps=3), folder / "two")
    assert PartialState().num_processes == 2
    if PartialState().is_main_process:
        torch.save(weights(result), folder / "weights.pt")
        torch.save(result.history.validations[-1].losses, folder / "losses.pt")


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    accelerate.debug_launcher(two_processes, args=(tmp_path,), num_processes=2)
    alone = trained(dataclasses.replace(QUICK, num_steps=3), tmp_path / "one")
    together = torch.load(tmp_path / "weights.pt", weights_only=True)
    for one, two in zip(weights(alone), together, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)
    losses = torch.load(tmp_path / "losses.pt", weights_only=True)
    assert losses["OCT"] == pytest.approx(alone.history.validations[-1].losses["OCT"], rel=1e-3)


def flow_trained(config: TrainingConfig, folder: Path, stop_after: int | None = None) -> Trained:
    """Train the tiny network to predict a flow instead."""
    generator = new_generator(seed=0)
    generator.process = Flow.from_config({"shift": 3.0})

    def report(history: History) -> None:
        if history.num_steps == stop_after:
            raise Stopped

    return train(generator, lesson(generator), config, folder=folder, report=report)


@pytest.mark.slow
def test_flow_matching_is_gone_on_with_to_the_bit(tmp_path: Path) -> None:
    whole = flow_trained(QUICK, tmp_path / "whole")
    with pytest.raises(Stopped):
        flow_trained(QUICK, tmp_path / "stopped", stop_after=3)
    resumed = flow_trained(QUICK, tmp_path / "stopped")
    assert same(weights(whole), weights(resumed))


def test_flow_matching_draws_what_matters_and_weighs_all_draws_alike(tmp_path: Path) -> None:
    one, other = (
        flow_trained(
            dataclasses.replace(QUICK, num_steps=1, min_snr_gamma=gamma), tmp_path / str(gamma)
        )
        for gamma in (0.0, 5.0)
    )
    assert one.history.losses == other.history.losses
