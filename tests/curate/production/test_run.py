import os
import random
import signal
from pathlib import Path

import pytest
import torch

import curate.production.writer
from curate.doctor import examine
from curate.errors import CurateError
from curate.production.images import images_of
from curate.production.plan import missing_items, plan_run
from curate.production.run import Generated, run_plan
from curate.production.versions import load_version, save_version
from curate.samples.pixels import array_of, pixels_hash
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from db.models import GeneratorVersion, Prompt
from generators.base import Prompt as PromptValue
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from tests.children import worked

SETTINGS = SamplingSettings(num_steps=2, batch_size=4)


def add_version(ws: Workspace, generator: DiffusionGenerator, folder: Path) -> GeneratorVersion:
    generator.save(folder)
    return save_version(
        ws, folder, generator_name="tiny", family="text-to-image", how_made="imported"
    )


def add_prompts(ws: Workspace, *texts: str) -> list[Prompt]:
    return [
        queries.prompts.get_or_add_prompt(ws.session, modality="OCT", text=text) for text in texts
    ]


@pytest.fixture
def version(
    workspace: Workspace, tiny_generator: DiffusionGenerator, tmp_path: Path
) -> GeneratorVersion:
    return add_version(workspace, tiny_generator, tmp_path / "tiny")


def generate(
    ws: Workspace, version: GeneratorVersion, *texts: str, count: int, first_seed: int = 0
) -> Generated:
    run = plan_run(
        ws,
        version,
        add_prompts(ws, *texts),
        count=count,
        first_seed=first_seed,
        settings=SETTINGS,
    )
    return run_plan(ws, run, lambda made: None)


def pixels(ws: Workspace) -> dict[str, str]:
    return {
        str(image.item_key): image.pixels_sha256 for image, _ in queries.images.images(ws.session)
    }


def test_a_plan_becomes_files_and_rows(workspace: Workspace, version: GeneratorVersion) -> None:
    result = generate(workspace, version, "normal", "drusen", count=3)
    assert (result.planned, result.already, result.made) == (6, 0, 6)
    images = [image for image, _ in queries.images.images(workspace.session)]
    assert sorted(image.run_index or 0 for image in images) == [0, 1, 2, 3, 4, 5]
    for image in images:
        array = array_of(workspace.store.get(image.file_sha256))
        assert array.shape == (16, 16, 3)
        assert pixels_hash(array) == image.pixels_sha256
    assert len({image.pixels_sha256 for image in images}) == 6


def test_the_same_plan_again_makes_nothing(workspace: Workspace, version: GeneratorVersion) -> None:
    generate(workspace, version, "normal", count=3)
    again = generate(workspace, version, "normal", count=3)
    assert (again.already, again.made) == (3, 0)


def test_a_larger_plan_makes_only_what_is_missing(
    workspace: Workspace, version: GeneratorVersion
) -> None:
    generate(workspace, version, "normal", count=2)
    before = pixels(workspace)
    more = generate(workspace, version, "normal", "drusen", count=5)
    assert (more.already, more.made) == (2, 8)
    assert before.items() <= pixels(workspace).items()


def test_an_image_does_not_depend_on_its_neighbours(
    workspace: Workspace, version: GeneratorVersion
) -> None:
    generate(workspace, version, "normal", "drusen", "healthy", count=3)
    generator = load_version(workspace, version.id)
    for image, prompt in queries.images.images(workspace.session):
        # alone in its batch, which is padded
        conditions = generator.condition([PromptValue(prompt.modality, prompt.text)])
        alone = images_of(generator, conditions, [image.seed or 0], SETTINGS)[0]
        stored = array_of(workspace.store.get(image.file_sha256))
        assert torch.equal((alone * 255).round().byte().permute(1, 2, 0), torch.tensor(stored))


def test_no_prompt_and_no_count_are_refused(
    workspace: Workspace, version: GeneratorVersion
) -> None:
    with pytest.raises(CurateError, match="no prompt to generate"):
        plan_run(workspace, version, [], count=1, settings=SETTINGS)
    with pytest.raises(CurateError, match="at least 1"):
        plan_run(workspace, version, add_prompts(workspace, "a"), count=0, settings=SETTINGS)


def test_pixels_that_are_no_numbers_are_refused_and_leave_no_row(
    workspace: Workspace, tiny_generator: DiffusionGenerator, tmp_path: Path
) -> None:
    with torch.no_grad():
        tiny_generator.denoiser.network.conv_out.bias.fill_(float("nan"))
    broken = add_version(workspace, tiny_generator, tmp_path / "broken")
    with pytest.raises(CurateError, match="NaN or infinite pixels"):
        generate(workspace, broken, "normal", count=2)
    assert pixels(workspace) == {}


KILLS = int(os.environ.get("CURATE_TEST_KILLS", "4"))
IMAGES_A_PROMPT = 8 * KILLS


def run_in_child(folder: Path) -> None:
    """Make the images of three prompts, four a flush."""
    curate.production.writer.FLUSH_IMAGES = 4
    with open_workspace(folder) as ws:
        version = queries.versions.find_version(ws.session, "latest")
        run = plan_run(
            ws, version, add_prompts(ws, *"abc"), count=IMAGES_A_PROMPT, settings=SETTINGS
        )
        run_plan(ws, run, lambda made: None)


@pytest.mark.slow
def test_killed_again_and_again_a_run_ends_with_the_planned_images(
    tmp_path: Path, tiny_generator: DiffusionGenerator
) -> None:
    for name in ("whole", "killed"):
        init_workspace(tmp_path / name)
        with open_workspace(tmp_path / name) as ws:
            add_version(ws, tiny_generator, tmp_path / f"tiny-{name}")

    exit_code, num_syncs = worked(run_in_child, tmp_path / "whole")
    assert exit_code == 0
    chance = random.Random(0)
    for _ in range(KILLS):
        kill_at = chance.randint(1, num_syncs // KILLS)
        assert worked(run_in_child, tmp_path / "killed", kill_at)[0] == -signal.SIGKILL
    assert worked(run_in_child, tmp_path / "killed")[0] == 0
    with open_workspace(tmp_path / "whole") as whole, open_workspace(tmp_path / "killed") as killed:
        assert len(pixels(whole)) == 3 * IMAGES_A_PROMPT
        assert pixels(killed) == pixels(whole)
        assert examine(killed).findings == []


def test_missing_items_come_in_plan_order(workspace: Workspace, version: GeneratorVersion) -> None:
    generate(workspace, version, "drusen", count=2, first_seed=1)
    run = plan_run(
        workspace,
        version,
        add_prompts(workspace, "normal", "drusen"),
        count=4,
        settings=SETTINGS,
    )
    assert [(item.index, item.seed) for item in missing_items(workspace, run)] == [
        (0, 0),
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 0),
        (7, 3),
    ]
