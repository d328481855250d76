"""Volumes larger than the patch, by `curate generate`: the same bytes however they are made."""

import csv
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import cli
from curate.clinical.chests import chest
from curate.production.images import ends_of, share_at
from curate.production.plan import plan_run
from curate.production.run import run_plan
from curate.production.versions import load_version, save_version
from curate.prompts.generate import Made
from curate.samples.formats import encode, read_sample
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from generators.base import Generator, Prompt, Trainable
from generators.beginning import Beginning
from generators.clinical.config import ClinicalSettings
from generators.config import SamplingSettings
from generators.families import clinical, clinical_gan
from generators.sample import Affine, Sample
from tests import children
from tests.generators.families.test_clinical import SMALL, prompt_of

SHAPE = (24, 40, 40)
AFFINE: Affine = ((-1.1, 0.2, 0, 9), (0.2, 1.1, 0.1, -4), (0, -0.1, 5, 1 / 3), (0, 0, 0, 1))
FAMILIES = {"clinical": clinical, "clinical-gan": clinical_gan}


def generator_of(family: str, **settings: float) -> Trainable:
    """Return one of a patch of 16 voxels a side, its weights as if it had learned something."""
    examples = [(case.image, prompt_of(case)) for case in (chest(n) for n in range(12))]
    chosen = ClinicalSettings(**{**SMALL, **settings})
    begun: Trainable = FAMILIES[family].create(chosen, Beginning(examples, seed=1))
    draws = torch.Generator().manual_seed(0)
    for weight in begun.denoiser.parameters():
        if not weight.any():
            weight.normal_(0, 0.2, generator=draws)
    return begun


def mask_of(number: int) -> Sample:
    """Return large blocks of labels, another mask for each number."""
    blocks = np.random.default_rng(number).integers(0, 5, (3, 5, 5), dtype=np.uint8)
    array = blocks.repeat(8, 0).repeat(8, 1).repeat(8, 2)
    return Sample(array[None], "labels", (5.0, 1.12, 1.12), AFFINE)


def study(folder: Path, family: str, masks: range) -> list[str]:
    """Make a workspace with a version and a sheet of masks; return the command that makes them."""
    init_workspace(folder)
    generator_of(family).save(folder / "weights")
    with open_workspace(folder) as ws:
        save_version(ws, folder / "weights", generator_name="g", family=family, how_made="imported")
    with (folder / "sheet.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("modality", "text", "mask", "record:smoking"))
        for number in masks:
            (folder / f"{number}.nii.gz").write_bytes(encode(mask_of(number)).content)
            rows.writerow(("ChestCT", f"chest {number}", f"{number}.nii.gz", "current"))
    shape = ("--steps", "2", "--batch-size", "2")
    told = ("--prompts", str(folder / "sheet.csv"), "--count", "1", *shape)
    return ["generate", *told, "--workspace", str(folder)]


def files_made(folder: Path) -> dict[str, str]:
    """Return each volume's SHA-256 by its prompt's text."""
    with open_workspace(folder) as ws:
        found = queries.images.images(ws.session)
        return {prompt.text: image.file_sha256 for image, prompt in found}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_alone_among_five_and_after_a_kill_a_volume_has_the_same_bytes(
    family: str, tmp_path: Path
) -> None:
    alone = study(tmp_path / "alone", family, range(2, 3))
    assert CliRunner().invoke(cli.app, alone).exit_code == 0
    several = study(tmp_path / "several", family, range(5))
    assert CliRunner().invoke(cli.app, several).exit_code == 0
    killed = study(tmp_path / "killed", family, range(5))
    kept = tmp_path / "killed" / "files"
    before = len(list(kept.rglob("*")))
    child = children.started(children.curate, killed, tmp_path, said=tmp_path / "said.txt")
    while child.is_alive() and len(list(kept.rglob("*"))) <= before + 5:  # five masks come first
        time.sleep(0.005)
    child.kill()
    child.join()
    assert child.exitcode == -signal.SIGKILL, (tmp_path / "said.txt").read_text()
    assert CliRunner().invoke(cli.app, killed).exit_code == 0
    made = files_made(tmp_path / "several")
    assert len(set(made.values())) == 5
    assert files_made(tmp_path / "killed") == made
    assert files_made(tmp_path / "alone") == {"chest 2": made["chest 2"]}
    with open_workspace(tmp_path / "alone") as ws:
        sample = read_sample(ws.store, made["chest 2"])
    assert (sample.kind, sample.spatial_shape, sample.affine) == ("HU", SHAPE, AFFINE)
    assert sample.array.std() > 1


def test_how_many_windows_are_computed_at_once_changes_hardly_a_voxel() -> None:
    generator = generator_of("clinical-gan")
    conditions = generator.condition([Prompt("ChestCT", "", images={"mask": mask_of(0)})])
    one, four = (
        generator.generate(conditions, [1], SamplingSettings(batch_size=size)) for size in (1, 4)
    )
    assert one.shape == (1, 1, *SHAPE) and one.std() > 1
    assert ((one - four).abs() <= 1).float().mean() >= 0.999  # HU: float sums differ by shape


def test_what_lies_at_the_ends_of_the_generators_hu_is_counted(
    workspace: Workspace, tmp_path: Path
) -> None:
    generator = generator_of("clinical-gan", low=-300.0, high=200.0)
    generator.save(tmp_path / "weights")
    version = save_version(
        workspace,
        tmp_path / "weights",
        generator_name="g",
        family="clinical-gan",
        how_made="imported",
    )
    case = encode(chest(3).mask)
    [sha] = queries.files.add_files(
        workspace.session, workspace.store, [(case.content, case.media_type)]
    )
    prompt = queries.prompts.get_or_add_prompt(
        workspace.session, modality="ChestCT", text="a chest", conditions={"mask": sha}
    )
    plan = plan_run(workspace, version, [prompt], count=3, settings=SamplingSettings(batch_size=2))
    done = run_plan(workspace, plan, lambda count: None)
    volumes = [
        read_sample(workspace.store, image.file_sha256).array
        for image, _ in queries.images.images(workspace.session)
    ]
    shares = [float(np.isin(volume, (-300, 200)).mean()) for volume in volumes]
    assert done.made == 3 and 0 < min(shares) < 1
    assert done.clipped == pytest.approx(np.mean(shares), abs=1e-6)
    assert done.most_clipped == pytest.approx(max(shares), abs=1e-6)
    [line] = Made(version.id, [done], [], [], False).lines()
    assert f"{done.clipped:.1%} of voxels at the ends of the generator's HU" in line
    again = run_plan(workspace, plan, lambda count: None)
    assert (again.made, again.clipped) == (0, None)
    assert ends_of(load_version(workspace, version.id)) == (-300.0, 200.0)


def test_a_generator_of_pictures_has_no_ends(tiny_generator: Generator) -> None:
    assert ends_of(tiny_generator) is None
    levels = torch.tensor([-300, -299, 0, 199, 200, 201])
    assert share_at((-300.0, 200.0), levels) == pytest.approx(3 / 6)
