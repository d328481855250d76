"""Checkpoints of each family through a workspace: imported, opened again, made into images."""

from pathlib import Path

import numpy as np
import pytest

from curate.production.plan import plan_run
from curate.production.run import run_plan
from curate.production.versions import import_version, load_version
from curate.samples.pixels import png_bytes
from curate.workspace import Workspace
from db import queries
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from generators.errors import GeneratorError
from tests.generators.families.stock import sd3_folder, sdxl_folder

SETTINGS = SamplingSettings(num_steps=2, batch_size=2, guidance=2.0)


@pytest.mark.parametrize("family", ["sdxl", "sd3"])
def test_an_imported_folder_is_of_the_family_that_it_says(
    workspace: Workspace, tmp_path: Path, family: str
) -> None:
    folder = {"sdxl": sdxl_folder, "sd3": sd3_folder}[family](tmp_path)
    version = import_version(workspace, str(folder))
    assert queries.versions.family_of(workspace.session, version) == family
    assert version.config == {"base": str(folder), "unet": None}
    assert load_version(workspace, version.id).output.shape == (3, 16, 16)
    prompt = queries.prompts.get_or_add_prompt(workspace.session, modality="OCT", text="drusen")
    run = plan_run(workspace, version, [prompt], count=2, first_seed=0, settings=SETTINGS)
    assert run_plan(workspace, run, lambda made: None).made == 2


def test_what_no_family_opens_is_refused_by_name(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(GeneratorError, match="is a FluxPipeline, which no family here opens"):
        import_version(workspace, str(tmp_path))
    with pytest.raises(GeneratorError, match="Family 'sdxl' takes no unet"):
        import_version(workspace, str(sdxl_folder(tmp_path)), unet=str(tmp_path))


def test_images_start_from_the_prompts_source(
    workspace: Workspace, tiny_generator: DiffusionGenerator, tmp_path: Path
) -> None:
    tiny_generator.save(tmp_path / "tiny")
    version = import_version(workspace, str(tmp_path / "tiny"))
    source = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    [sha256] = queries.files.add_files(
        workspace.session, workspace.store, [(png_bytes(source), "image/png")]
    )
    prompt = queries.prompts.get_or_add_prompt(
        workspace.session, modality="OCT", text="drusen", conditions={"source": sha256}
    )
    settings = SamplingSettings(num_steps=4, batch_size=2, strength=0.5)
    for chosen in (settings, SETTINGS):  # a source is looked at only where one starts from it
        run = plan_run(workspace, version, [prompt], count=1, first_seed=0, settings=chosen)
        assert run_plan(workspace, run, lambda made: None).made == 1
    (started, _), (plain, _) = queries.images.images(workspace.session)
    assert started.settings is not None and plain.settings is not None
    assert {"strength"} == started.settings.keys() - plain.settings.keys()
    assert started.pixels_sha256 != plain.pixels_sha256
