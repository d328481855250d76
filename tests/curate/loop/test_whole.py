"""A loop taken whole tells what of its prompt sheet it does not take."""

from pathlib import Path
from typing import Any

import pytest

from curate.loop import whole
from curate.loop.config import LoopOptions
from curate.settings import Given
from curate.workspace import Workspace


def test_lines_of_the_sheet_that_are_refused_are_told(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheet = tmp_path / "prompts.csv"
    sheet.write_text("modality,text\nOCT,drusen\npink elephant,normal\n")
    begun_with: list[Any] = []
    monkeypatch.setattr(
        whole, "run_loop", lambda ws, config, **given: begun_with.extend(given["prompts"])
    )
    told: list[str] = []
    whole.loop_rounds(workspace, LoopOptions(sheet=sheet), Given({}), say=told.append)
    assert [prompt.text for prompt in begun_with] == ["drusen"]
    assert len(told) == 1 and "prompts.csv:3" in told[0] and "pink elephant" in told[0]
