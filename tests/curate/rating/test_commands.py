"""`curate rate ...`, `curate train-reward` and `curate score`, run as a user runs them."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import cli
from curate.workspace import init_workspace, open_workspace
from db import queries
from tests.curate.pictures import add_pictures


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A workspace with 60 real pictures of 12 prompts."""
    init_workspace(tmp_path / "study")
    with open_workspace(tmp_path / "study") as ws:
        add_pictures(ws, 60, num_prompts=12)
    return tmp_path / "study"


def run(study: Path, *arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(cli.app, [*arguments, "--workspace", str(study)])
    assert result.exit_code == status, result.output
    return result.output


def run_json(study: Path, *arguments: str) -> Any:
    result = CliRunner().invoke(cli.app, [*arguments, "--workspace", str(study), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def rated_by_a_person(study: Path) -> Path:
    """A file in MINIM's columns: the brighter a picture, the better."""
    lines = [
        f"images/OCT-{n}.png,{1 + int(3 * ((n * 0.618) % 1))},OCT,3,finding {n % 12}"
        for n in range(60)
    ]
    path = study / "reader.csv"
    path.write_text("image_path,rating,modality,expert_level,prompt\n" + "\n".join(lines) + "\n")
    return path


def test_simulated_raters_rate_what_nobody_was_asked_about_and_say_so(study: Path) -> None:
    options = ("rate", "simulate", "--origin", "real", "--images", "20", "--repeats", "0.2")
    (done,) = run_json(study, *options)
    assert done["simulated"] is True
    assert done["num_answered"] == done["num_assigned"] == done["taken"]["new"]
    assert "simulated raters" in run(study, *options)  # the next 20
    for command in ("status", "raters", "agreement"):
        assert "simulated" in run(study, "rate", command)
    campaigns = run_json(study, "rate", "status")
    assert [row["campaign"] for row in campaigns] == ["simulated-1", "simulated-2"]
    assert [row["images"] for row in campaigns] == [21, 21]  # one control image each
    assert {row["expert_level"] for row in run_json(study, "rate", "raters")} == {1, 2, 3}
    (group,) = run_json(study, "rate", "agreement", "--campaign", "simulated-1")
    assert len(group["criteria"][0]["between"]) == 3


def test_a_simulation_that_was_begun_is_finished_first(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotation.simulated.IMAGES_A_PULL", 4)
    options = ("rate", "simulate", "--origin", "real", "--images", "12", "--controls", "0")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("curate.rating.answers.Taken.__add__", stop)  # after a batch
        run(study, *options, status=130)
    (row,) = run_json(study, "rate", "status")
    assert 0 < row["answered"] < row["assigned"]
    (done,) = run_json(study, *options)
    assert done["campaign"] == "simulated-1"
    assert done["num_answered"] == done["num_assigned"] == row["assigned"]


def test_a_simulation_of_all_images_may_be_repeated_and_has_one_line(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("rate", "simulate", "--origin", "real", "--controls", "0", "--overlap", "1")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("curate.rating.simulate.agreement", stop)  # all answers are kept
        run(study, *options, status=130)
    for _ in range(2):
        (done,) = run_json(study, *options)
        assert (done["campaign"], done["taken"]["new"]) == ("simulated-1", 0)
        assert done["num_answered"] == done["num_assigned"] == 63  # 3 repeats
    with open_workspace(study) as ws:
        lines = queries.audit.details_of(ws.session, "rate simulate")
    assert lines == [{"campaign": "simulated-1", "assignments": 63}]


def test_a_file_of_ratings_becomes_a_reward_model_and_scores(study: Path) -> None:
    path = rated_by_a_person(study)
    output = run(study, "rate", "import", str(path), "--rater", "Dr. Lee")
    assert "60 ratings new" in output
    row = run_json(study, "train-reward")
    assert (row["simulated"], row["num_ratings"]) == (False, 60)
    assert row["metrics"]["held_out_by"] == "prompt"
    assert "60 ratings by people" in run(study, "train-reward")
    scored = run_json(study, "score")
    assert (scored["new"], scored["simulated"]) == (60, False)
    assert "0 images scored, 60 were already" in run(study, "score")
    with open_workspace(study) as ws:  # done twice, told once
        assert [line["scores"] for line in queries.audit.details_of(ws.session, "score")] == [60]
        assert len(queries.audit.details_of(ws.session, "train-reward")) == 1
        [told] = queries.audit.details_of(ws.session, "rate import")
    assert (told["file"], told["ratings"]) == ("reader.csv", 60)
    assert "60 ratings in" in run(study, "rate", "export", str(study / "out.csv"))
    assert (study / "out.csv").read_text().count("Dr. Lee") == 60


def test_bad_lines_are_shown_with_file_and_number_and_a_file_of_them_fails(study: Path) -> None:
    path = study / "bad.csv"
    path.write_text("image_path,rating\nimages/none.png,3\n")
    output = run(study, "rate", "import", str(path), status=1)
    assert f"{path}:2: images/none.png is no image of this workspace" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train-reward",), "0 ratings, but a reward model needs 40"),
        (("score",), "Known: none. Fit one with `curate train-reward`"),
        (("rate", "simulate"), "no image to rate"),
        (("rate", "agreement", "--campaign", "x"), "No campaign 'x'. Known: none"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    study: Path, arguments: tuple[str, ...], message: str
) -> None:
    output = run(study, *arguments, status=1)
    assert output.startswith("Error: ")
    assert message in output
    assert output.count("\n") == 1
