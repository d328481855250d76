"""Edits asked for on the command line: a mask of what may change, and a grid of both scales."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from curate.errors import CurateError
from curate.production.config import GenerateOptions, GeneratorChoice
from curate.prompts.asked import check_asked
from curate.prompts.generate import generate_images
from curate.prompts.grid import TILE, make_grid
from curate.release.remake import sample_again
from curate.samples.formats import read_sample
from curate.workspace import Workspace
from db import queries
from generators.beginning import Beginning
from generators.config import SamplingSettings
from generators.families.counterfactual import CounterfactualSettings, create

PRIOR = np.random.default_rng(1).integers(0, 256, (16, 16), dtype=np.uint8)
MASK = np.zeros((16, 16), dtype=np.uint8)
MASK[4:9, 5:12] = 255


def options(ws: Workspace, **more: object) -> GenerateOptions:
    """One edit of a film, by a small generator that lies in the workspace's folder."""
    folder = ws.folder / "base"
    if not folder.exists():
        create(CounterfactualSettings(side=16, width=16), Beginning([])).save(folder)
        Pillow.fromarray(PRIOR).save(ws.folder / "prior.png")
        Pillow.fromarray(MASK).save(ws.folder / "mask.png")
    asked = {
        "texts": ("CXR: No change.",),
        "prior": str(ws.folder / "prior.png"),
        "count": 1,
        "generator": GeneratorChoice(base=str(folder)),
        "settings": SamplingSettings(num_steps=1, batch_size=1),
    }
    return GenerateOptions(**{**asked, **more})  # type: ignore[arg-type]


def test_outside_a_mask_the_stored_image_is_the_prior_and_it_is_made_again_so(
    workspace: Workspace,
) -> None:
    for keep in (None, workspace.folder / "mask.png"):
        assert generate_images(workspace, options(workspace, keep=keep)).is_whole
    first, second = [i for i, _ in queries.images.images(workspace.session, origin="synthetic")]
    assert first.prompt_id != second.prompt_id and first.item_key != second.item_key
    found = read_sample(workspace.store, second.file_sha256)
    assert np.array_equal(found.array[0][MASK == 0], PRIOR[MASK == 0])
    assert not np.array_equal(found.array[0], PRIOR)
    assert sample_again(workspace, second) == found
    plain = read_sample(workspace.store, first.file_sha256)
    assert not np.array_equal(plain.array[0][MASK == 0], PRIOR[MASK == 0])


def test_a_grid_is_nine_images_of_one_prior_made_once_and_one_picture(
    workspace: Workspace,
) -> None:
    path = workspace.folder / "out" / "grid.png"
    settings = SamplingSettings(num_steps=1, batch_size=1, guidance=2.0, image_guidance=1.5)
    asked = options(workspace, grid=path, settings=settings, count=10)
    assert sum(run.made for run in make_grid(workspace, asked).runs) == 9
    [again] = generate_images(workspace, options(workspace, settings=settings)).runs
    assert (again.made, again.already) == (0, 1)  # the one that is chosen is there
    images = [i for i, _ in queries.images.images(workspace.session, origin="synthetic")]
    scales = {
        ((i.settings or {})["guidance"], (i.settings or {})["image_guidance"]) for i in images
    }
    assert scales == {(t, i) for t in (1.0, 2.0, 4.0) for i in (0.75, 1.5, 2.25)}
    with Pillow.open(path) as picture:
        assert picture.size == (4 * TILE, 3 * TILE)


def test_what_belongs_to_a_prior_is_refused_without_one(workspace: Workspace) -> None:
    with pytest.raises(CurateError, match="--keep belongs to --prior"):
        check_asked(options(workspace, prior=None, keep=Path("mask.png")))
    with pytest.raises(CurateError, match="one --prior and one --prompt"):
        check_asked(options(workspace, texts=("CXR: a", "CXR: b"), grid=Path("grid.png")))
    with pytest.raises(CurateError, match="name a PNG"):
        check_asked(options(workspace, grid=Path("grid")))
    with pytest.raises(CurateError, match="--keep .*nowhere.png"):
        generate_images(workspace, options(workspace, keep=Path("nowhere.png")))
