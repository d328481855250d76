"""A saved generator's card says how it reads prompts, and its code does what curate does."""

import re
from pathlib import Path

import torch

from curate.production.versions import (
    embedded_version,
    import_version,
    load_version,
    save_merged,
    version_folder,
)
from curate.workspace import Workspace
from generators.base import Prompt
from tests.tiny import tiny_generator


def test_the_code_of_the_card_reads_a_prompt_as_curate_does(
    workspace: Workspace, tmp_path: Path
) -> None:
    version = embedded_version(workspace)
    folder = tmp_path / "a model"
    assert save_merged(workspace, version.id, folder)
    card = (folder / "README.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    here: dict[str, object] = {}
    exec(code.partition("image = ")[0].replace("THIS FOLDER", str(folder)), here)
    asked = here["asked"]
    conditioner = load_version(workspace, version.id).conditioner  # type: ignore[attr-defined]
    tokens = conditioner([Prompt("OCT", "normal"), Prompt("", "")]).parts["tokens"]
    torch.testing.assert_close(torch.cat(asked), tokens)  # type: ignore[arg-type]
    assert "license: cc-by-4.0" in card
    assert not save_merged(workspace, version.id, folder)  # is there already


def test_a_saved_folder_comes_back_as_the_version_that_it_was(
    workspace: Workspace, tmp_path: Path
) -> None:
    tiny_generator().save(tmp_path / "base")
    version = import_version(workspace, str(tmp_path / "base"), name="<b>my</b> model")
    save_merged(workspace, version.id, tmp_path / "saved")
    card = (tmp_path / "saved" / "README.md").read_text()
    assert "license: other" in card and "&lt;b&gt;my&lt;/b&gt; model" in card
    again = import_version(workspace, str(tmp_path / "saved"))
    assert again.id == version.id
    assert not (version_folder(workspace, again.id) / "README.md").exists()
