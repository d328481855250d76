from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from generators.base import Prompt
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from generators.diffusion.guidance import predict
from generators.errors import GeneratorError
from generators.lora import (
    ATTENTION,
    CONVOLUTIONS,
    WEIGHTS,
    add_lora,
    disable_lora,
    load_lora,
    lora_state,
    merge_lora,
    save_lora,
)
from tests.tiny import tiny_generator as new_tiny_generator

SETTINGS = SamplingSettings()


def predicted(generator: DiffusionGenerator) -> torch.Tensor:
    conditions = generator.conditioner([Prompt("OCT", "drusen")] * 2)
    x_t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return predict(generator, x_t, torch.tensor([900, 100]), conditions, SETTINGS)


def adapted(
    generator: DiffusionGenerator, targets: tuple[str, ...], alpha: float | None = None
) -> None:
    """Add adapters that do something, as training leaves them."""
    add_lora(generator, 4, targets, alpha=alpha)
    draws = torch.Generator().manual_seed(0)
    for weight in lora_state(generator).values():
        weight.detach().normal_(0, 0.3, generator=draws)


def test_new_adapters_change_nothing_and_only_they_are_trained(
    tiny_generator: DiffusionGenerator,
) -> None:
    before = predicted(tiny_generator)
    add_lora(tiny_generator, 4)
    assert torch.equal(predicted(tiny_generator), before)
    trained = [w for w in tiny_generator.denoiser.parameters() if w.requires_grad]
    assert {id(weight) for weight in trained} == {
        id(weight) for weight in lora_state(tiny_generator).values()
    }
    predicted(tiny_generator).sum().backward()
    assert all(weight.grad is not None for weight in trained)


def test_adapters_sit_on_every_attention_projection(tiny_generator: DiffusionGenerator) -> None:
    add_lora(tiny_generator, 4)
    unet = tiny_generator.denoiser.network
    attention = [name for name, _ in unet.named_modules() if name.endswith("lora_A.default")]
    num_blocks = 4  # one down, one in the middle, two up
    assert len(attention) == num_blocks * 2 * len(ATTENTION)  # self- and cross-attention


def test_alpha_over_rank_scales_what_adapters_add(tiny_generator: DiffusionGenerator) -> None:
    """In one linear layer, against the product of the two factors."""
    adapted(tiny_generator, ("to_q",), alpha=6)
    state = lora_state(tiny_generator)
    name = min(state).removesuffix(".lora_A.weight")
    layer = tiny_generator.denoiser.network.get_submodule(name)
    x = torch.randn(5, layer.in_features, generator=torch.Generator().manual_seed(1))
    down, up = state[f"{name}.lora_A.weight"], state[f"{name}.lora_B.weight"]
    with torch.no_grad():
        expected = x @ (layer.weight + 6 / 4 * up @ down).T
        torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("targets", [ATTENTION, CONVOLUTIONS, ATTENTION + CONVOLUTIONS])
def test_merged_adapters_predict_like_attached_ones(
    tiny_generator: DiffusionGenerator, targets: tuple[str, ...], tmp_path: Path
) -> None:
    before = predicted(tiny_generator)
    adapted(tiny_generator, targets, alpha=6)
    attached = predicted(tiny_generator)
    assert (attached - before).abs().max() > 0.1
    save_lora(tiny_generator, tmp_path / "adapter")
    merged = new_tiny_generator()
    names = set(merged.denoiser.state_dict())
    merge_lora(merged, tmp_path / "adapter")
    torch.testing.assert_close(predicted(merged), attached, rtol=1e-5, atol=1e-5)
    assert set(merged.denoiser.state_dict()) == names
    assert not any(weight.requires_grad for weight in merged.denoiser.parameters())
    merge_lora(merged, tmp_path / "adapter")  # a chain: the next adapter on the merged weights
    assert (predicted(merged) - attached).abs().max() > 0.1


def test_switched_off_adapters_leave_the_reference_bitwise(
    tiny_generator: DiffusionGenerator,
) -> None:
    before = predicted(tiny_generator)
    adapted(tiny_generator, ATTENTION + CONVOLUTIONS)
    attached = predicted(tiny_generator)
    with disable_lora(tiny_generator):
        assert torch.equal(predicted(tiny_generator), before)
    assert torch.equal(predicted(tiny_generator), attached)
    with pytest.raises(KeyboardInterrupt), disable_lora(tiny_generator):
        raise KeyboardInterrupt
    assert predicted(tiny_generator).requires_grad  # on again, and trainable


def test_equal_adapters_are_equal_bytes_and_come_back_trainable(
    tiny_generator: DiffusionGenerator, tmp_path: Path
) -> None:
    adapted(tiny_generator, ATTENTION, alpha=6)
    attached = predicted(tiny_generator)
    save_lora(tiny_generator, tmp_path / "one")
    fresh = new_tiny_generator()
    load_lora(fresh, tmp_path / "one")
    assert torch.equal(predicted(fresh), attached)
    assert all(weight.requires_grad for weight in lora_state(fresh).values())
    for _ in range(5):  # several header entries would be written in random order
        save_lora(fresh, tmp_path / "two")
        assert (tmp_path / "two" / WEIGHTS).read_bytes() == (
            tmp_path / "one" / WEIGHTS
        ).read_bytes()


def test_the_stock_pipeline_reads_an_adapters_folder(
    tiny_generator: DiffusionGenerator, tmp_path: Path
) -> None:
    tiny_generator.save(tmp_path / "base")
    adapted(tiny_generator, ATTENTION + CONVOLUTIONS, alpha=6)
    attached = predicted(tiny_generator)
    save_lora(tiny_generator, tmp_path / "adapter")
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "base")
    pipeline.load_lora_weights(tmp_path / "adapter")
    tiny_generator.denoiser.swap(pipeline.unet)
    torch.testing.assert_close(predicted(tiny_generator), attached, rtol=1e-5, atol=1e-5)


def test_an_adapter_that_is_missing_or_fits_elsewhere_is_refused(
    tiny_generator: DiffusionGenerator, tmp_path: Path
) -> None:
    with pytest.raises(GeneratorError, match="does not fit this generator"):
        load_lora(new_tiny_generator(), tmp_path)
    adapted(tiny_generator, ("to_q",))
    save_lora(tiny_generator, tmp_path)
    content = bytearray((tmp_path / WEIGHTS).read_bytes())
    (tmp_path / WEIGHTS).write_bytes(content.replace(b"mid_block", b"mud_block"))
    with pytest.raises(GeneratorError, match="names differ"):
        load_lora(new_tiny_generator(), tmp_path)
    (tmp_path / WEIGHTS).write_bytes(content[: len(content) // 2])
    with pytest.raises(GeneratorError, match="does not fit this generator"):
        load_lora(new_tiny_generator(), tmp_path)
