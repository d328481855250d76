from pathlib import Path

import pytest

from curate.errors import CurateError
from curate.rating.rubrics import load_rubric
from curate.workspace import Workspace
from db import queries

RUBRIC = """
name = "chest"
reasons = ["blur"]
ask_origin = true
[[criteria]]
name = "quality"
question = "Fit for training?"
scale = [1, 3]
[[criteria]]
name = "anatomy"
question = "Plausible?"
scale = [1, 5]
polarity = "lower"
wording = { 1 = "as in life" }
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "rubric.toml"
    path.write_text(text)
    return path


def test_a_rubric_keeps_the_order_of_its_file_and_asks_about_the_origin_last(
    workspace: Workspace, tmp_path: Path
) -> None:
    rubric = load_rubric(workspace, written(tmp_path, RUBRIC))
    criteria = queries.campaigns.criteria_of(workspace.session, rubric.id)
    assert [(c.name, c.kind, c.polarity) for c in criteria] == [
        ("quality", "scale", "higher"),
        ("anatomy", "scale", "lower"),
        ("origin", "origin", "higher"),
    ]
    assert (rubric.version, rubric.reasons) == (1, ["blur"])


def test_another_wording_is_the_next_version_and_the_old_one_is_found_again(
    workspace: Workspace, tmp_path: Path
) -> None:
    first = load_rubric(workspace, written(tmp_path, RUBRIC))
    second = load_rubric(workspace, written(tmp_path, RUBRIC.replace("Plausible?", "Possible?")))
    assert (first.version, second.version) == (1, 2)
    assert load_rubric(workspace, written(tmp_path, RUBRIC)).id == first.id


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "chest"', "", "the file has no name"),
        ("reasons", "flaws", "the file has flaws; known"),
        ("[1, 3]", "[3, 1]", r"the scale of quality is \[3, 1\]"),
        ("[1, 3]", "[1, 2, 3]", "the scale of quality"),
        ('"lower"', '"down"', "needed: higher or lower"),
        ("{ 1 =", "{ 9 =", "wording of anatomy"),
        ('"anatomy"', '"quality"', "two criteria have one name"),
        ('"anatomy"', '"a b"', "letters, digits and -"),
        ('["blur"]', '"blur"', "reasons is a list"),
        ("[[criteria]]", "[[criteria", "is not a rubric"),
        ('question = "Plausible?"', "", "criterion 2 has no question"),
    ],
)
def test_what_is_wrong_with_a_rubric_is_said(
    workspace: Workspace, tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(CurateError, match=message):
        load_rubric(workspace, written(tmp_path, RUBRIC.replace(old, new)))
