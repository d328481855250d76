"""What curate 0.2.0 left behind, a newer one goes on with; make.py says how it was made.

All is asked of the command line, wherever the modules are; only keys are asked of functions.
"""

import json
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import cli
from curate.production.plan import item_key, settings_hash
from curate.samples.pixels import pixels_hash
from db.hashing import json_hash
from db.queries.prompts import prompt_hash
from db.queries.versions import tree_hash
from generators.config import SamplingSettings
from tests.annotation.label_studio.fake import FakeLabelStudio
from tests.yardstick.machine import processor
from tests.yardstick.story import (
    IMAGES_FROM,
    MORE,
    PLAN,
    PROMPTS,
    RL_STEP,
    RL_STOPPED,
    RL_UPDATES,
    TRAINING,
    TRAINING_STEPS,
    TRAINING_STOPPED,
    USERS,
    Asked,
    asked,
    drawn,
    kept_labels,
    serving,
)

HERE = Path(__file__).parent
MADE: dict[str, Any] = json.loads((HERE / "made-0.2.0.json").read_text())
WHICH = ("--version", MADE["base"])
NUM_PLANNED = 24
MARK = 123.0

same_processor = pytest.mark.skipif(
    processor() != MADE["processor"],
    reason="another processor or torch than 0.2.0 was run on: the last bits may differ",
)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive's contents, for copies to be made of."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(HERE / "workspace-0.2.0.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def yard(tmp_path: Path, unpacked: Path) -> Path:
    """A workspace of 0.2.0, which no newer version has opened yet."""
    return copied(unpacked, tmp_path)


@pytest.fixture
def labels(unpacked: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLabelStudio]:
    """The Label Studio in which its raters answer."""
    fake = kept_labels(unpacked / "label-studio.json")
    with serving(fake) as url:
        monkeypatch.setenv("CURATE_LABEL_STUDIO_URL", url)
        monkeypatch.setenv("CURATE_LABEL_STUDIO_TOKEN", "none")
        yield fake


def copied(unpacked: Path, folder: Path) -> Path:
    (folder / "prompts.csv").write_text(PROMPTS)
    return Path(shutil.copytree(unpacked / "workspace", folder / "workspace"))


def run(yard: Path, *arguments: str) -> str:
    done = CliRunner().invoke(cli.app, [*arguments, "--workspace", str(yard)])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def told(yard: Path, *arguments: str) -> Any:
    return json.loads(run(yard, *arguments, "--json"))


def rows(yard: Path, question: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(yard / "curate.db")) as connection:
        return connection.execute(question).fetchall()


# -- as it is ----------------------------------------------------------------------------------


def test_the_yardstick_has_a_row_in_every_table(yard: Path) -> None:
    tables = [name for (name,) in rows(yard, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    assert len(tables) == 27
    empty = [name for name in tables if rows(yard, f'SELECT count(*) FROM "{name}"') == [(0,)]]
    assert empty == []


def test_it_opens_and_its_status_is_unchanged(yard: Path) -> None:
    then, now = json.loads((HERE / "status-0.2.0.json").read_text()), told(yard, "status")
    assert {name: now[name] for name in then} == then  # names may come beside them


def test_its_rows_and_files_agree(yard: Path) -> None:
    assert told(yard, "doctor")["findings"] == []


def test_its_release_is_proved(yard: Path) -> None:
    proof = told(yard, "export", "--verify", str(release(yard)), "--again", "0")
    assert proof["ok"] and proof["remembered"]
    assert proof["release_id"] == MADE["release"]


@same_processor
def test_the_images_of_its_release_are_made_again_bit_by_bit(yard: Path) -> None:
    proof = told(yard, "export", "--verify", str(release(yard)))
    assert (proof["proved"], proof["made_again"]["num_images"]) == ("bit-identical", 6)


def release(yard: Path) -> Path:
    return yard / "releases" / str(MADE["release"])[:12]


# -- making images -----------------------------------------------------------------------------


def test_the_same_plan_makes_no_image(yard: Path) -> None:
    known = rows(yard, "SELECT id FROM run")
    sheet = ("--prompts", str(yard.parent / "prompts.csv"))
    (done,) = told(yard, *PLAN, *sheet, *WHICH)["runs"]
    assert (done["made"], done["already"]) == (0, NUM_PLANNED)
    assert (done["run_id"],) in known


def test_a_plan_that_was_begun_gets_what_is_missing(yard: Path) -> None:
    (done,) = told(yard, *MORE, "4", *WHICH)["runs"]
    assert (done["made"], done["already"]) == (2, 2)


def test_its_lora_makes_images(yard: Path) -> None:
    ((lora,),) = rows(
        yard,
        "SELECT id FROM generator_version WHERE weights = 'lora' AND how_made = 'train-generator'",
    )
    assert told(yard, *MORE, "1", "--version", lora)["runs"][0]["made"] == 1


# -- what was stopped --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where the stopped training has gone on, and the version that it made."""
    yard = copied(unpacked, tmp_path_factory.mktemp("trained"))
    mark_first_loss(yard)
    return yard, told(yard, *TRAINING, *WHICH)["version"]


def mark_first_loss(yard: Path) -> None:
    """Write a loss into the checkpoint that no step makes: who goes on from there will tell it."""
    (path,) = (yard / "cache" / "train-generator").glob("*/checkpoint.safetensors")
    with safe_open(path, framework="pt") as opened:
        metadata = opened.metadata()
    history = json.loads(metadata["history"])
    assert len(history["losses"]) == TRAINING_STOPPED
    history["losses"][0] = MARK
    save_file(load_file(path), path, metadata={**metadata, "history": json.dumps(history)})


def test_a_stopped_training_goes_on_from_the_step_that_is_kept(
    unpacked: Path, trained: tuple[Path, str]
) -> None:
    yard, version = trained
    (folder,) = (unpacked / "workspace" / "cache" / "train-generator").iterdir()
    kept = [json.loads(line)["loss"] for line in (folder / "steps.jsonl").read_text().splitlines()]
    losses = json.loads(run(yard, "generators", "show", version))["metrics"]["losses"]
    assert (len(kept), len(losses)) == (TRAINING_STOPPED, TRAINING_STEPS)
    assert losses[:TRAINING_STOPPED] == [MARK, *kept[1:]]  # not taken again
    assert not (yard / "cache" / "train-generator" / folder.name).exists()


@same_processor
def test_a_training_that_went_on_ends_as_it_would_have(trained: tuple[Path, str]) -> None:
    assert trained[1] == MADE["ends"]["train-generator"]


@pytest.fixture(scope="module")
def stepped(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where the stopped RL step has gone on, and the version that it made."""
    yard = copied(unpacked, tmp_path_factory.mktemp("stepped"))
    model = ("--reward-model", MADE["reward_model"])
    return yard, told(yard, *RL_STEP, *WHICH, *model)["version"]


def test_a_stopped_rl_step_goes_on_after_the_updates_that_are_kept(
    unpacked: Path, stepped: tuple[Path, str]
) -> None:
    yard, version = stepped
    (log,) = (unpacked / "workspace" / "cache" / "rl").glob("*/updates.jsonl")
    kept = [json.loads(line) for line in log.read_text().splitlines()]
    updates = json.loads(run(yard, "generators", "show", version))["metrics"]["updates"]
    assert (len(kept), len(updates)) == (RL_STOPPED, RL_UPDATES)
    assert updates[:RL_STOPPED] == kept  # with the seconds that they took: not taken again


@same_processor
def test_an_rl_step_that_went_on_ends_as_it_would_have(stepped: tuple[Path, str]) -> None:
    assert stepped[1] == MADE["ends"]["rl-step"]


# -- people ------------------------------------------------------------------------------------


def answer(labels: FakeLabelStudio, questions: list[Asked], best: set[str | None]) -> None:
    """Let people find the images of the best versions fit for training, and no other."""
    for one in questions:
        grade = "3" if one.version_id in best else "1"
        labels.annotate(one.uid, {"quality": grade}, completed_by=USERS[one.rater])
    labels.tick()


def test_answers_that_were_pulled_are_not_taken_again(yard: Path, labels: FakeLabelStudio) -> None:
    for campaign in told(yard, "rate", "pull", "--all"):
        taken = campaign["taken"]
        assert (taken["new"], taken["revised"], taken["quarantined"]) == (0, 0, 0), campaign


def test_a_loop_that_waits_at_its_gate_goes_on_there(yard: Path, labels: FakeLabelStudio) -> None:
    loop = ("loop", "--name", "people", *IMAGES_FROM)
    images = rows(yard, "SELECT count(*) FROM image")
    waits = told(yard, *loop)["waits_for"]
    assert waits.startswith("round 1 (gate_pushed) waits: 0 of ")
    ((new,),) = rows(yard, "SELECT new_version_id FROM round WHERE loop_name = 'people'")
    answer(labels, asked(yard, "people-gate-1"), {new})
    done = told(yard, *loop)
    assert (done["rounds"][0]["state"], done["waits_for"]) == ("promoted", None)
    assert rows(yard, "SELECT count(*) FROM image") == images
    waits = told(yard, *loop, "--rounds", "2")["waits_for"]
    assert waits.startswith("round 2 (pushed) waits: 0 of ")


def test_a_round_taken_by_single_commands_goes_on_where_it_waits(
    yard: Path, labels: FakeLabelStudio
) -> None:
    state = "SELECT state FROM round WHERE loop_name = 'by-hand'"
    assert rows(yard, state) == [("pushed",)]
    answer(labels, asked(yard, "by-hand-round-1"), {MADE["base"]})
    run(yard, "rate", "pull")
    assert rows(yard, state) == [("rated",)]


# -- keys --------------------------------------------------------------------------------------


def key_of(what: str, of: Any) -> str:
    """Return what the present code calls it."""
    match what:
        case "json":
            return json_hash(of)
        case "tree":
            return tree_hash(of)
        case "prompt":
            return prompt_hash(**of)
        case "pixels":
            return pixels_hash(drawn(of))
        case "settings":
            return settings_hash(SamplingSettings(**of).to_json())
        case "item":
            return item_key(**{**of, "settings": SamplingSettings(**of["settings"]).to_json()})
    raise ValueError(what)


def test_things_are_called_as_0_2_0_called_them() -> None:
    golden = json.loads((HERE / "item_keys-0.2.0.json").read_text())
    assert {one["what"] for one in golden} == {
        *("json", "tree", "prompt", "pixels", "settings", "item")
    }
    assert [one for one in golden if key_of(one["what"], one["of"]) != one["key"]] == []


def test_every_image_s_key_follows_from_its_row(yard: Path) -> None:
    columns = "item_key, settings_hash, version_id, prompt_id, seed, settings"
    found = rows(yard, f"SELECT {columns} FROM image WHERE origin = 'synthetic'")
    assert len(found) > NUM_PLANNED
    for key, hashed, version_id, prompt_id, seed, stored in found:
        settings = json.loads(stored)
        assert key == item_key(version_id, prompt_id, seed, settings)
        assert hashed == settings_hash(settings)
        assert SamplingSettings.from_json(settings).to_json() == settings
    real = rows(yard, "SELECT item_key, pixels_sha256 FROM image WHERE origin = 'real'")
    assert all(key == json_hash(["real", pixels]) for key, pixels in real)


def test_every_version_s_id_follows_from_its_files(yard: Path) -> None:
    files: dict[str, dict[str, str]] = {}
    for version, path, sha in rows(
        yard, "SELECT version_id, path, file_sha256 FROM generator_version_file"
    ):
        files.setdefault(version, {})[path] = sha
    for version, weights, parent in rows(
        yard, "SELECT id, weights, parent_id FROM generator_version"
    ):
        beside = {".parent": parent} if weights == "lora" else {}
        assert tree_hash({**files[version], **beside}) == version
