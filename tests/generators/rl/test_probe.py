from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from generators.base import Prompt
from generators.diffusion.generator import DiffusionGenerator
from generators.rl.algorithms.base import Reward
from generators.rl.config import RLConfig
from generators.rl.policy import MemoryFit, Policy
from generators.rl.probe import Fits, bytes_of_pair, found_fit, largest
from generators.rl.progress import UpdateHealth
from generators.rl.training import Conduct, Rollouts, train
from tests.tiny import tiny_generator as make_tiny_generator

Small = Callable[..., RLConfig]


def test_the_largest_size_that_is_possible_is_found_by_trying() -> None:
    tried: list[int] = []

    def is_possible(size: int) -> bool:
        tried.append(size)
        return size <= 37

    assert largest(is_possible, 1024) == 32 and tried == [2, 4, 8, 16, 32, 64]
    assert largest(is_possible, 16) == 16
    assert largest(lambda size: False, 16) == 1


def test_a_pair_keeps_what_its_backward_pass_needs_and_guidance_doubles_it(
    small: Small, prompts: list[Prompt]
) -> None:
    def found(**changes: object) -> int:
        generator = make_tiny_generator()
        return bytes_of_pair(Policy(generator, small(**changes)), generator.conditioner(prompts))

    plain = found()
    assert 1e5 < plain < 1e7  # an 8 x 8 U-Net's activations
    assert found(guidance=2.0) == pytest.approx(2 * plain, rel=0.05)
    assert found(lora_rank=0) > plain  # the frozen layers' inputs too


def test_what_is_kept_follows_the_memory_and_the_settings(
    tiny_generator: DiffusionGenerator, small: Small, prompts: list[Prompt]
) -> None:
    def found(num_images: int = 64, **changes: object) -> MemoryFit:
        policy.config = small(rollout_batch=16, **changes)
        return found_fit(policy, conditions, num_images)

    policy, conditions = Policy(tiny_generator, small()), tiny_generator.conditioner(prompts)
    pair = bytes_of_pair(policy, conditions)
    for_40_images = (6 + 40 * 2) * pair / 2**30  # the micro-batch, and two steps an image
    assert found() == MemoryFit(6, 64)
    assert found(memory_gib=for_40_images) == MemoryFit(6, 32)  # two whole compute batches
    assert found(memory_gib=0, micro_batch=0) == MemoryFit(1, 0)
    assert found(micro_batch=0) == MemoryFit(32, 64)
    for other in ({"minibatches": 2}, {"rollout_dtype": "bfloat16"}, {"algorithm": "nft"}):
        assert found(**other) == MemoryFit(6, 0)  # the training pass is another than the rollout's


def test_what_was_found_is_remembered_for_the_same_model_and_shape(
    tiny_generator: DiffusionGenerator, small: Small, prompts: list[Prompt], tmp_path: Path
) -> None:
    policy, conditions = Policy(tiny_generator, small()), tiny_generator.conditioner(prompts)
    path = tmp_path / "fits.json"
    fits = Fits(path, Path.write_bytes)
    first = found_fit(policy, conditions, 8, fits)
    path.write_text(
        path.read_text().replace(f'"kept_images": {first.kept_images}', '"kept_images": 3')
    )
    assert found_fit(policy, conditions, 8, fits) == MemoryFit(6, 3)
    assert found_fit(policy, conditions, 16, fits) == MemoryFit(6, 16)


@pytest.mark.slow
def test_with_and_without_memory_a_run_ends_alike_and_a_resumed_one_keeps_its_fit(
    small: Small, prompts: list[Prompt], brightness: Reward, tmp_path: Path
) -> None:
    ended, seen = {}, {}
    for name, gib in (("much", 2.0), ("none", 0.0)):
        history: list[UpdateHealth] = []
        config = small(memory_gib=gib, micro_batch=0, learning_rate=1e-4)
        trained = train(
            make_tiny_generator(),
            Rollouts(prompts, brightness),
            config,
            Conduct(tmp_path / name, history.append),
        )
        ended[name] = torch.cat([v.flatten() for v in trained.policy.weights.copied().values()])
        seen[name] = [(health.micro_batch, health.kept_images) for health in history]
    assert seen == {"much": [(32, 8)] * 2, "none": [(1, 0)] * 2}
    assert (ended["much"] - ended["none"]).norm() < 1e-4 * ended["none"].norm()
    with safe_open(tmp_path / "none" / "checkpoint.safetensors", framework="pt") as opened:
        assert opened.metadata()["fit"] == '{"micro_batch": 1, "kept_images": 0}'
