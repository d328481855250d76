from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler

from generators.base import Conditions
from generators.diffusion.process import VariancePreserving, read_process
from generators.errors import GeneratorError


def some_conditions(num_images: int = 3) -> Conditions:
    rows = torch.arange(num_images).float()
    return Conditions.of(
        tokens=rows[:, None, None].expand(-1, 2, 4),
        channels=rows[:, None, None, None].expand(-1, 1, 8, 8),
    )


def test_selecting_takes_rows_in_order_and_more_than_once() -> None:
    chosen = some_conditions().select([2, 0, 2])
    assert len(chosen) == 3
    assert chosen.parts["tokens"][:, 0, 0].tolist() == [2, 0, 2]
    assert chosen.parts["channels"][:, 0, 0, 0].tolist() == [2, 0, 2]
    assert chosen.parts.keys() == {"tokens", "channels"}


def test_joining_undoes_selecting() -> None:
    conditions = some_conditions()
    joined = Conditions.join([conditions.select([0]), conditions.select([1, 2])])
    assert torch.equal(joined.parts["tokens"], conditions.parts["tokens"])


def test_conditions_with_different_parts_do_not_join() -> None:
    tokens_only = Conditions.of(tokens=torch.zeros(1, 2, 4))
    with pytest.raises(ValueError, match="only some"):
        Conditions.join([some_conditions(), tokens_only])


def test_conditions_for_no_known_number_of_images_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one part"):
        Conditions({})
    with pytest.raises(ValueError, match="one batch size"):
        Conditions.of(tokens=torch.zeros(1, 2, 4), modulation=torch.zeros(2, 4))


def test_conditions_change_their_precision_together() -> None:
    halved = some_conditions().to("cpu", torch.bfloat16)
    assert halved.parts["tokens"].dtype == halved.parts["channels"].dtype == torch.bfloat16


def test_noise_levels_are_the_products_of_one_minus_beta() -> None:
    schedule = VariancePreserving.from_config(
        {"num_train_timesteps": 3, "trained_betas": [0.1, 0.2, 0.5]}
    )
    expected = torch.tensor([0.36, 0.9, 1.0, 0.72], dtype=torch.float64)  # worked out by hand
    found = schedule.shares(torch.tensor([2, 0, -1, 1]))[
        0
    ].square()  # -1: set_alpha_to_one's default
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_schedules_of_other_diffusers_schedulers_are_read_as_ddims(tmp_path: Path) -> None:
    stable_diffusion = {
        "_class_name": "PNDMScheduler",
        "_diffusers_version": "0.6.0",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "trained_betas": None,
    }
    schedule = read_process(stable_diffusion)
    assert isinstance(schedule, VariancePreserving)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    torch.testing.assert_close(
        schedule.alphas_cumprod_T, (1 - betas).cumprod(0), rtol=1e-4, atol=1e-7
    )
    assert schedule.clip_range is None  # latents are never clamped unless the file says so
    assert schedule.final_alpha_cumprod == pytest.approx(1 - 0.00085)
    assert schedule.timesteps(4) == [751, 501, 251, 1]
    schedule.save(tmp_path)
    assert DDIMScheduler.from_pretrained(tmp_path / "scheduler").config.steps_offset == 1


def test_a_schedule_that_predicts_something_else_is_refused() -> None:
    with pytest.raises(GeneratorError, match="predicts 'sample'"):
        VariancePreserving.from_config({"prediction_type": "sample"})
    with pytest.raises(GeneratorError, match="thresholding"):
        VariancePreserving.from_config({"thresholding": True})


def test_more_steps_than_noise_levels_are_refused() -> None:
    with pytest.raises(GeneratorError, match="1001 steps, but this generator knows 1000"):
        VariancePreserving.from_config({}).timesteps(1001)
