"""SDXL and SD3 shaped folders through an RL step: imported, trained, saved, opened by stock."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from curate.production.versions import import_version, load_version, save_merged
from curate.training.rl import rl_step
from curate.workspace import Workspace
from db import queries
from generators.base import Prompt as PromptValue
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from generators.rl.algorithms.base import Reward
from generators.rl.config import RLConfig
from tests.generators.families.stock import sd3_folder, sdxl_folder
from tests.generators.families.test_sdxl_and_sd3 import opened_by_diffusers, stock_image

SETTINGS = SamplingSettings(num_steps=4, batch_size=2, guidance=3.0)


@pytest.mark.parametrize("make", [sdxl_folder, sd3_folder])
def test_what_an_rl_step_makes_of_it_opens_in_the_stock_pipeline(
    workspace: Workspace,
    tmp_path: Path,
    small: Callable[..., RLConfig],
    brightness: Reward,
    make: Callable[[Path], Path],
) -> None:
    start = import_version(workspace, str(make(tmp_path)))
    prompt = queries.prompts.get_or_add_prompt(workspace.session, modality="OCT", text="drusen")
    config = small(num_updates=1, guidance=3.0, lora_rank=2)
    made = rl_step(workspace, config, start=start, prompts=[prompt], reward=brightness)
    assert made.parent_id == start.id and made.weights == "lora"
    assert save_merged(workspace, made.id, tmp_path / "saved")
    before, after = (load_version(workspace, version.id) for version in (start, made))
    assert isinstance(after, DiffusionGenerator)
    plain, trained = (
        one.generate(one.condition([PromptValue("OCT", "drusen")]), [7], SETTINGS)
        for one in (before, after)
    )
    assert (plain - trained).abs().max() > 1e-4
    stock = stock_image(opened_by_diffusers(tmp_path / "saved"), after)
    torch.testing.assert_close(trained, stock, rtol=0, atol=1e-4)
