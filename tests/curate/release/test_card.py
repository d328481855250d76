"""What a dataset card prints works: its commands on every format, its words as they are."""

import ast
import csv
import hashlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

import cli
from curate.outside import as_text
from curate.release.config import ExportConfig
from curate.release.manifest import DEFUSED, manifest_bytes, read_manifest
from curate.release.publish import export_release
from curate.release.verify import verify_release
from db.models import Prompt
from tests.curate.release.test_formats import _silent
from tests.test_circle import FAMILIES, _demo, _rated_by_brightness

TEXTS = ("=A1|<b>x</b>", "`n` *[x](y)*")


def run(workspace: Path, *arguments: object) -> str:
    """Run a command in this process and return what it said."""
    place = () if arguments[0] == "init" else ("--workspace", workspace)
    result = CliRunner().invoke(cli.app, [str(each) for each in (*arguments, *place)])
    assert result.exit_code == 0, f"{arguments}: {result.output}"
    return result.output


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a workspace and a release of all formats, from two settings of guidance."""
    folder = tmp_path_factory.mktemp("card")
    study, sheet = folder / "study", folder / "sheet.csv"
    _demo(FAMILIES[0], folder)
    FAMILIES[0].generator().save(folder / "base")
    with sheet.open("w", newline="") as file:
        prompts = [["OCT", text, f"f{number}"] for number, text in enumerate(TEXTS)]
        csv.writer(file).writerows([["modality", "text", "label"], *prompts])
    run(study, "init", study)
    run(study, "import", folder / "data.csv")
    make = ("generate", "--prompts", sheet, "--base", folder / "base", "--count", 8, "--steps", 2)
    for guidance in (1, 3):
        run(study, *make, "--guidance", guidance)
    run(study, "rate", "simulate")
    run(study, "rate", "export", folder / "simulated.csv")
    _rated_by_brightness(folder / "simulated.csv", study)
    run(study, "rate", "import", folder / "rated.csv", "--rater", "bright")
    run(study, "train-reward", "--min-ratings", 10)
    run(study, "score")
    formats = ("--format", "parquet", "--format", "webdataset", "--format", "dicom")
    shares = ("--top-share", 1, "--test-share", 0.4)
    said = run(study, "export", folder / "a release", *shares, *formats)
    assert "2 sets of sampling settings are mixed" in said
    return folder


def card(folder: Path) -> str:
    """Return the card, its placeholders filled in."""
    text = (folder / "a release" / "README.md").read_text()
    text = text.replace("THIS FOLDER", str(folder / "a release"))
    return text.replace("NEW FOLDER", str(folder / "again"))


@pytest.mark.slow
def test_every_command_of_a_card_runs(released: Path) -> None:
    [block] = re.findall(r"```\n(.*?)```", card(released), re.DOTALL)
    commands = [shlex.split(line) for line in block.splitlines()]
    assert [command[:2] for command in commands] == [["curate", "export"], ["curate", "generate"]]
    for command in commands:
        run(released / "study", *command[1:])
    again, release = released / "again", released / "a release"
    images = {path.relative_to(again): path.read_bytes() for path in again.rglob("*.png")}
    assert len(images) == len(read_manifest(release).images)
    assert all((release / path).read_bytes() == content for path, content in images.items())


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_every_format_opens_as_the_card_says(released: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    release = released / "a release"
    calls = re.findall(r"datasets\.(load_dataset\(.*?\))`", card(released))
    kinds = [ast.literal_eval(call.partition("(")[2].partition(",")[0]) for call in calls]
    assert kinds == ["imagefolder", "parquet", "webdataset"]
    images = read_manifest(release).images
    for call in calls:

        def load_dataset(*kind: str, **places: Any) -> Any:
            return datasets.load_dataset(*kind, **places, cache_dir=str(tmp_path))

        opened = eval(call, {"load_dataset": load_dataset})
        assert set(opened) == {"train", "test"}
        assert sum(map(len, opened.values())) == len(images)
        first = next(iter(opened["train"]))
        text = first["json"]["text"] if "json" in first else first["text"]
        assert text.lstrip("'") in TEXTS
    for path in (release / "dicom").rglob("*.dcm"):
        assert pydicom.dcmread(path).SyntheticData == "YES"


@pytest.mark.slow
def test_a_release_of_one_run_has_one_set_of_settings(released: Path, tmp_path: Path) -> None:
    """The run is named by the first digits of its id, as `curate runs list` shows them."""
    listed = json.loads(run(released / "study", "runs", "list", "--json"))
    runs = [state for state in listed if state["kind"] == "run"]  # images; others are commands
    name = runs[0]["run_id"][:12]
    said = run(released / "study", "export", tmp_path / "one", "--top-share", 1, "--run", name)
    assert "mixed" not in said
    manifest = read_manifest(tmp_path / "one")
    assert len({json.dumps(dict(image.settings)) for image in manifest.images}) == 1
    assert manifest.raw["rule"]["run"] == [name]


@pytest.mark.slow
def test_words_of_others_are_words_in_the_card(released: Path) -> None:
    text = (released / "a release" / "README.md").read_text()
    assert "guidance 3" in text and "guidance 1" in text
    assert "apostrophe stands before texts" in text


def test_markup_is_shown_and_not_run() -> None:
    markdown_it = pytest.importorskip("markdown_it")
    for text in (*TEXTS, "<img src=x onerror=alert(1)>", "a\n# b", "![i](j)", "a & b &lt;"):
        table = f"| a |\n|---|\n| {as_text(text)} |\n"
        html = markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table").render(table)
        assert not re.findall(r"<(?!/?(?:table|thead|tbody|tr|th|td)\b)", html), html
        assert html.count("<td>") == 1


def rename(story: Any, text: str) -> None:
    """Let every prompt of the story ask for this, under the id that follows from it."""
    for prompt in story.prompts:
        story.ws.session.get_one(Prompt, prompt.id).text = text
    story.ws.session.commit()


@pytest.mark.parametrize("text", ["=1+1", "'=1+1", "+A1", "@SUM(A1)", "-2 is low", "\t=1"])
def test_no_cell_is_a_formula_and_its_text_is_known_again(
    story: Any, tmp_path: Path, text: str
) -> None:
    rename(story, text)
    folder = tmp_path / "release"
    export_release(story.ws, folder, ExportConfig(threshold=0.35), _silent)
    for path in folder.rglob("*.csv"):
        with path.open(newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [c for c in cells if re.match(r"[=+@\t\r-]", c) and not _is_number(c)], path
    assert DEFUSED in read_manifest(folder).raw
    kinds = {problem.kind for problem in verify_release(folder).problems}
    assert kinds == {"item"}  # the story's prompts were given other words than their ids say


@pytest.mark.slow
def test_a_table_that_says_other_words_than_the_manifest_is_named(
    story: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "release"
    export_release(story.ws, folder, ExportConfig(threshold=0.35), _silent)
    words = story.prompts[0].text
    forged = (folder / "data.csv").read_bytes().replace(words.encode(), b"something else")
    (folder / "data.csv").write_bytes(forged)
    raw = dict(read_manifest(folder).raw)
    raw["files"] = [
        {"path": "data.csv", "sha256": hashlib.sha256(forged).hexdigest(), "num_bytes": len(forged)}
        if file["path"] == "data.csv"
        else file
        for file in raw["files"]
    ]
    (folder / "manifest.json").write_bytes(manifest_bytes(raw))
    assert {problem.kind for problem in verify_release(folder).problems} == {"table"}


def _is_number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False


def test_a_release_without_such_texts_says_nothing_of_apostrophes(
    story: Any, tmp_path: Path
) -> None:
    export_release(story.ws, tmp_path / "release", ExportConfig(threshold=0.35), _silent)
    assert DEFUSED not in read_manifest(tmp_path / "release").raw
    assert verify_release(tmp_path / "release").ok
