import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from generators import lora
from generators.base import Prompt
from generators.diffusion.generator import DiffusionGenerator
from generators.errors import GeneratorError
from generators.families.text_to_image import load
from generators.rl.config import RLConfig
from generators.rl.policy import Policy
from tests.tiny import tiny_generator as make_tiny_generator

Small = Callable[..., RLConfig]


def predict(generator: DiffusionGenerator) -> Tensor:
    conditions = generator.conditioner([Prompt("OCT", "drusen"), Prompt("CXR", "normal")])
    x_t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        prediction: Tensor = generator.denoiser(x_t, torch.tensor([600, 200]), conditions)
    return prediction


def take_steps(policy: Policy, count: int = 2) -> None:
    for _ in range(count):
        for weight in policy.weights.named.values():
            weight.grad = torch.ones_like(weight)
        policy.weights.step()


@pytest.mark.parametrize("rank", [0, 2])
def test_at_start_predictions_equal_the_untrained_ones_to_the_bit(
    tiny_generator: DiffusionGenerator, small: Small, rank: int
) -> None:
    before = predict(tiny_generator)
    policy = Policy(tiny_generator, small(lora_rank=rank))
    assert torch.equal(predict(tiny_generator), before)  # adapters begin by changing nothing
    take_steps(policy)
    assert not torch.equal(predict(tiny_generator), before)
    with policy.at_start():
        assert torch.equal(predict(tiny_generator), before)
    assert not torch.equal(predict(tiny_generator), before)


def test_adapters_leave_the_base_weights_alone(
    tiny_generator: DiffusionGenerator, small: Small
) -> None:
    base = copy.deepcopy(tiny_generator.denoiser.network.state_dict())
    policy = Policy(tiny_generator, small())
    assert all("lora" in name for name in policy.weights.named)
    take_steps(policy)
    trained = tiny_generator.denoiser.network.state_dict()
    for name, value in base.items():
        module, _, kind = name.rpartition(".")
        kept = trained.get(name, trained.get(f"{module}.base_layer.{kind}"))
        assert kept is not None and torch.equal(kept, value)


def test_the_same_seed_gives_the_same_adapters(small: Small) -> None:
    one, same, other = (
        Policy(make_tiny_generator(), small(seed=seed)).weights.named.values() for seed in (0, 0, 1)
    )
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("rank", [0, 2])
def test_the_saved_result_predicts_as_the_policy_did(
    tiny_generator: DiffusionGenerator, small: Small, rank: int, tmp_path: Path
) -> None:
    policy = Policy(tiny_generator, small(lora_rank=rank))
    take_steps(policy)
    policy.weights.save_result(tmp_path / "result")
    trained = predict(tiny_generator)
    if rank:
        opened = make_tiny_generator()
        lora.merge_lora(opened, tmp_path / "result")
    else:
        opened = load(tmp_path / "result")
    torch.testing.assert_close(predict(opened), trained, rtol=1e-4, atol=1e-5)


def test_the_result_is_the_moving_average_and_training_goes_on_from_the_last_weights(
    tiny_generator: DiffusionGenerator, small: Small, tmp_path: Path
) -> None:
    policy = Policy(tiny_generator, small(ema_decay=0.5))
    name, weight = next(iter(policy.weights.named.items()))
    values = [weight.detach().clone()]
    for _ in range(2):
        take_steps(policy, 1)
        values.append(weight.detach().clone())
    expected = 0.25 * values[0] + 0.25 * values[1] + 0.5 * values[2]
    torch.testing.assert_close(policy.weights.averages[name], expected)
    policy.weights.save_result(tmp_path)
    opened = make_tiny_generator()
    lora.load_lora(opened, tmp_path)
    torch.testing.assert_close(dict(opened.denoiser.named_parameters())[name], expected)
    assert torch.equal(weight, values[2])


def test_a_gradient_that_is_no_number_moves_nothing(
    tiny_generator: DiffusionGenerator, small: Small
) -> None:
    policy = Policy(tiny_generator, small())
    before = [weight.detach().clone() for weight in policy.weights.named.values()]
    for weight in policy.weights.named.values():
        weight.grad = torch.full_like(weight, float("nan"))
    with pytest.raises(GeneratorError, match="diverged"):
        policy.weights.step()
    assert all(
        torch.equal(a, b) for a, b in zip(before, policy.weights.named.values(), strict=True)
    )


def test_without_a_compiler_compiling_is_refused_in_words(
    tiny_generator: DiffusionGenerator, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    Policy(tiny_generator, small()).compile()
    with pytest.raises(GeneratorError, match="no no-such-compiler"):
        Policy(make_tiny_generator(), small(compile=True)).compile()
