import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from generators.base import Conditions, Output, Prompt
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from generators.diffusion.samplers import initial_noise
from generators.errors import GeneratorError
from generators.rl.algorithms.base import Reward
from generators.rl.config import RLConfig
from generators.rl.progress import UpdateHealth
from generators.rl.training import Conduct, Rollouts, train
from tests.generators.rl.planted import brightness_of_fresh_images, standard_errors
from tests.tiny import tiny_generator as make_tiny_generator

Small = Callable[..., RLConfig]


def ignore(health: UpdateHealth) -> None:
    """Report to nobody."""


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.slow
def test_images_move_to_where_the_reward_is(
    sign: float,
    tiny_generator: DiffusionGenerator,
    small: Small,
    prompts: list[Prompt],
    brightness: Reward,
    tmp_path: Path,
) -> None:
    def reward(images: Tensor, of: object) -> tuple[Tensor, Tensor]:
        mean_B, spread_B = brightness(images, prompts)
        return sign * mean_B, spread_B

    config = small(
        num_updates=10,
        group_size=32,
        rollout_batch=32,
        micro_batch=64,
        lora_rank=0,
        learning_rate=1e-3,
        kl_target=100.0,
    )
    before_B = brightness_of_fresh_images(tiny_generator, prompts, "ddim")
    train(tiny_generator, Rollouts(prompts, reward), config, Conduct(tmp_path, ignore))
    gained_B = sign * (brightness_of_fresh_images(tiny_generator, prompts, "ddim") - before_B)
    assert standard_errors(gained_B) > 5  # paired by seed, on samples without fresh noise
    assert gained_B.mean() > 0.3 * before_B.std()


@pytest.mark.parametrize(
    "settings",
    [
        {"algorithm": "window", "ema_decay": 0.5},
        {"algorithm": "window", "branches": 2, "window_start": 1, "window_size": 1},
        {"algorithm": "window", "holds_budget": True, "kl_target": 1e-4, "check_every": 1},
        {"algorithm": "ddpo", "minibatches": 3, "baseline_buffer": 4},
        {"algorithm": "nft", "lora_targets": "attention+convolutions"},
        {"algorithm": "draft"},
    ],
    ids=lambda settings: settings["algorithm"],
)
@pytest.mark.slow
def test_one_and_one_update_equal_two_to_the_bit(
    settings: dict, small: Small, prompts: list[Prompt], brightness: Reward, tmp_path: Path
) -> None:
    config = small(num_updates=2, inner_epochs=2, num_steps=3, **settings)
    whole, history = run(config, prompts, brightness, tmp_path / "whole", stop_after=2)
    run(config, prompts, brightness, tmp_path / "halves", stop_after=1)
    resumed, later = run(config, prompts, brightness, tmp_path / "halves", stop_after=1)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert [health.update for health in later] == [1]
    assert [h.without_seconds() for h in later] == [h.without_seconds() for h in history[1:]]
    logs = [(tmp_path / name / "updates.jsonl").read_text() for name in ("whole", "halves")]
    assert [len(log.splitlines()) for log in logs] == [2, 2]


class Enough(Exception):
    """The process dies here."""


def run(
    config: RLConfig, prompts: list[Prompt], reward: Reward, folder: Path, *, stop_after: int
) -> tuple[dict[str, Tensor], list[UpdateHealth]]:
    """Train on a fresh generator and die after some updates; return the state files' tensors."""
    from safetensors.torch import load_file

    history: list[UpdateHealth] = []

    def report(health: UpdateHealth) -> None:
        history.append(health)
        if len(history) == stop_after:
            raise Enough

    with pytest.raises(Enough):
        train(make_tiny_generator(), Rollouts(prompts, reward), config, Conduct(folder, report))
    return load_file(folder / "checkpoint.safetensors"), history


@pytest.mark.skipif(
    "CURATE_TEST_COMPILE" not in os.environ,
    reason="compiling takes three minutes: set CURATE_TEST_COMPILE=1 to try it",
)
@pytest.mark.timeout(900)
def test_a_compiled_denoiser_learns_the_same(
    small: Small, prompts: list[Prompt], brightness: Reward, tmp_path: Path
) -> None:
    """Rollouts that keep graphs, the frozen start, and a last pass of another shape."""
    ends = []
    for compiled in (False, True):
        generator = make_tiny_generator(seed=0)
        config = small(num_updates=1, memory_gib=1e-3, compile=compiled)
        folder = tmp_path / str(compiled)
        trained = train(generator, Rollouts(prompts, brightness), config, Conduct(folder, ignore))
        compiled_call = generator.denoiser.network._compiled_call_impl
        assert (compiled_call is not None) == compiled
        ends.append(
            torch.cat([w.detach().flatten() for w in trained.policy.weights.named.values()])
        )
    eager, fast = ends
    assert not torch.equal(eager, torch.zeros_like(eager))
    assert torch.allclose(eager, fast, atol=1e-4)


def test_a_finished_run_is_not_run_again(
    small: Small, prompts: list[Prompt], brightness: Reward, tmp_path: Path
) -> None:
    first = train(
        make_tiny_generator(), Rollouts(prompts, brightness), small(), Conduct(tmp_path, ignore)
    )

    def never(images: Tensor, of: object) -> tuple[Tensor, Tensor]:
        raise AssertionError("asked for another reward")

    again = train(
        make_tiny_generator(), Rollouts(prompts, never), small(), Conduct(tmp_path, ignore)
    )
    assert first.history == again.history
    weights, same = first.policy.weights.copied(), again.policy.weights.copied()
    assert all(torch.equal(weights[name], same[name]) for name in weights)


def test_a_checkpoint_of_other_settings_is_refused(
    small: Small, prompts: list[Prompt], brightness: Reward, tmp_path: Path
) -> None:
    train(make_tiny_generator(), Rollouts(prompts, brightness), small(), Conduct(tmp_path, ignore))
    with pytest.raises(GeneratorError, match="was made with other settings"):
        train(
            make_tiny_generator(),
            Rollouts(prompts, brightness),
            small(learning_rate=1e-4),
            Conduct(tmp_path, ignore),
        )


def test_a_reward_that_is_no_number_stops_the_run_and_keeps_what_was_learnt(
    small: Small, prompts: list[Prompt], brightness: Reward, tmp_path: Path
) -> None:
    calls = []

    def breaks_later(images: Tensor, of: list[Prompt]) -> tuple[Tensor, Tensor]:
        calls.append(len(images))
        mean_B, spread_B = brightness(images, of)
        return (mean_B if len(calls) < 2 else mean_B * float("nan")), spread_B

    with pytest.raises(GeneratorError, match="8 of 8 rewards are NaN or infinite"):
        train(
            make_tiny_generator(),
            Rollouts(prompts, breaks_later),  # type: ignore[arg-type]
            small(),
            Conduct(tmp_path, ignore),
        )
    _, later = run(small(), prompts, brightness, tmp_path, stop_after=1)
    assert later[0].update == 1  # the first update was kept


def test_an_overspent_budget_ends_the_run_for_good(
    small: Small, prompts: list[Prompt], brightness: Reward, tmp_path: Path
) -> None:
    config = small(num_updates=5, kl_target=1e-9)
    history: list[UpdateHealth] = []
    for _ in range(2):  # started again it stays stopped
        train(
            make_tiny_generator(),
            Rollouts(prompts, brightness),
            config,
            Conduct(tmp_path, history.append),
        )
    assert [health.stopped for health in history] == [False, True]
    assert history[1].gradient_norm == 0.0


def test_each_update_reports_its_health(
    small: Small, prompts: list[Prompt], brightness: Reward, tmp_path: Path
) -> None:
    _, (first, second) = run(small(), prompts, brightness, tmp_path, stop_after=2)
    assert first.ratio_deviation < 1e-4 and second.ratio_deviation < 1e-4
    assert first.kl == 0.0 and second.kl is not None and second.kl > 0.0
    assert first.gradient_norm > 0.0 and first.clipped_fraction == 0.0
    assert first.zero_spread_groups == 0 and first.reward_sd > 0.0
    assert second.kl_weight == pytest.approx(first.kl_weight / 1.5)  # far below the target
    assert UpdateHealth.from_json(first.to_json()) == first


def test_no_prompt_is_refused(
    tiny_generator: DiffusionGenerator, small: Small, tmp_path: Path
) -> None:
    with pytest.raises(GeneratorError, match="No prompt to practise on"):
        train(
            tiny_generator,
            Rollouts([], lambda images, of: (images, images)),
            small(),
            Conduct(tmp_path, ignore),
        )


class OneStep:
    """As a GAN's family would be: noise to pixels in one pass."""

    family = "one-step"
    reads: frozenset[str] = frozenset()
    output = Output("intensity", (1, 8, 8))
    device = torch.device("cpu")

    def condition(self, prompts: Sequence[Prompt]) -> Conditions:
        return Conditions.of(tokens=torch.zeros(len(prompts), 1, 1))

    def generate(
        self, conditions: Conditions, seeds: Sequence[int], settings: SamplingSettings
    ) -> Tensor:
        return initial_noise(seeds, self.output.shape).sigmoid()

    def to(self, device: torch.device | str) -> "OneStep":
        return self

    def save(self, folder: Path) -> None:
        folder.mkdir()


def test_a_generator_that_makes_a_sample_in_one_step_is_refused(
    small: Small, prompts: list[Prompt], brightness: Reward, tmp_path: Path
) -> None:
    with pytest.raises(GeneratorError, match="Family 'one-step' makes a sample in one step"):
        train(OneStep(), Rollouts(prompts, brightness), small(), Conduct(tmp_path, ignore))
