"""The notebook of an edit and a translation, on two tiny versions that learned nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from curate.production.versions import save_version
from curate.workspace import Workspace
from generators.beginning import Beginning
from generators.diffusion.generator import DiffusionGenerator
from generators.families.counterfactual import CounterfactualSettings, create
from generators.families.translation import create as create_translator
from generators.translation.config import TranslationSettings
from tests.curate.pictures import add_pictures

ROOT = Path(__file__).parents[2]


def saved(ws: Workspace, folder: Path, generator: DiffusionGenerator) -> str:
    generator.save(folder)
    how: dict[str, Any] = {"family": generator.family, "how_made": "imported"}
    return save_version(ws, folder, generator_name=generator.family, **how).id


def test_every_cell_of_the_notebook_runs(workspace: Workspace, tmp_path: Path) -> None:
    small = CounterfactualSettings(side=16, width=16)
    editor = saved(workspace, tmp_path / "edits", create(small, Beginning([])))
    settings = TranslationSettings(size=16, channels=(8, 16))
    translator = saved(workspace, tmp_path / "own", create_translator(settings, Beginning([])))
    add_pictures(workspace, 2, modality="CXR")
    workspace.session.commit()
    folder = str(workspace.folder)
    cells = json.loads((ROOT / "examples" / "edits.ipynb").read_text())["cells"]
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            source = "".join(cell["source"]).replace("SEED, STEPS = 0, 20", "SEED, STEPS = 0, 2")
            source = source.replace('"films", "latest"', f"{folder!r}, {editor!r}")
            source = source.replace('"brains", "latest"', f"{folder!r}, {translator!r}")
            exec(compile(source, cell["id"], "exec"), names)
    edits, translated = names["edits"], names["translated"]
    assert edits.shape == (2, 1, 16, 16) and translated.shape == (1, 1, 16, 16)
    assert np.array_equal(names["difference"], edits[1, 0] - edits[0, 0])
    assert np.array_equal(names["source"].array, 255 - names["truth"].array)
    assert np.isfinite(translated).all() and np.abs(names["difference"]).max() > 0
