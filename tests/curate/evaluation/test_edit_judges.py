"""Edits read by a user's own judges: figures as scikit-learn and SciPy have them."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from scipy.stats import pearsonr
from sklearn.metrics import roc_auc_score

from curate.errors import CurateError
from curate.evaluation.config import EditsConfig
from curate.evaluation.edit_figures import label_divergence
from curate.evaluation.edit_judges import (
    NOT_NAMED,
    ImagesToJudge,
    OwnJudges,
    judged_edits,
    own_judges,
)
from curate.evaluation.edits import COPY, FOLLOW_UP, OURS, REAL, evaluate_edits
from curate.journeys.config import DescribeConfig, JourneyDemo
from curate.journeys.demo import make_demo
from curate.journeys.describe import describe_journeys
from curate.journeys.findings import finding_named, read_statements, state_of
from curate.progress import progress
from curate.workspace import Workspace
from generators.config import SamplingSettings
from rewards.own_judge import OwnJudge
from tests.curate.evaluation.test_edits import SIDE, untrained
from tests.rewards.test_own_judge import vision_transformer

REPORTS = (
    "There is a right pleural effusion. Heart size is normal.",
    "Cardiomegaly. No pleural effusion.",
    "Left pleural effusion. Cardiomegaly.",
    "Heart size is normal. Cannot exclude pleural effusion.",
    "No pleural effusion. Heart size is normal.",
    "Moderate pleural effusion. Cardiomegaly is unchanged.",
)


def corners(images_B3HW: torch.Tensor) -> torch.Tensor:
    """Read an image's first three pixels as three probabilities."""
    return images_B3HW[:, 0, 0, :3]


def some_images(seed: int) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).random((len(REPORTS), 4, 4)))


def judged(seed: int = 1) -> tuple[list[np.ndarray], OwnJudges, Any]:
    images, real = some_images(seed), some_images(9)
    patients = [f"p{number}" for number in range(len(REPORTS))]
    people = {
        one: {"race": race, "age": age}
        for one, race, age in zip(patients, "WBWBWx", "40 50 60 45 80 71".split(), strict=True)
    }
    labels = ("Cardiomegaly", "Effusion", "Hernia")
    judges = OwnJudges(
        OwnJudge("mine", "findings", labels, corners),
        {
            "race": OwnJudge("race", "classes", ("W", "B"), lambda some: corners(some)[:, :2]),
            "age": OwnJudge("age", "number", ("age",), lambda some: corners(some)[:, 2:]),
        },
        people,
    )
    said = [read_statements(report) for report in REPORTS]
    rows = {
        "ours": ImagesToJudge(images, patients, said),
        "real": ImagesToJudge(real, patients, said),
    }
    return images, judges, judged_edits(judges, rows, "real").rows


def test_figures_are_those_of_scikit_learn_and_scipy() -> None:
    images, judges, rows = judged()
    read = np.array([image[0, :3] for image in images]).astype(np.float32).astype(float)
    heart = roc_auc_score([0, 1, 1, 0, 0, 1], read[:, 0])
    fluid = roc_auc_score([1, 0, 1, 0, 1], np.delete(read[:, 1], 3))  # one report is in doubt
    white = [1, 0, 1, 0, 1]  # the sixth is of neither class
    race = (roc_auc_score(white, read[:5, 0]) + roc_auc_score(1 - np.array(white), read[:5, 1])) / 2
    age = pearsonr([40, 50, 60, 45, 80, 71], read[:, 2]).statistic
    found = {name: one.value for name, one in rows["ours"].values.items() if one is not None}
    assert found["cardiomegaly AUC"] == pytest.approx(heart)
    assert found["pleural effusion AUC"] == pytest.approx(fluid)
    assert found["pathology"] == pytest.approx((heart + fluid) / 2)
    assert found["race"] == pytest.approx(race)
    assert found["age"] == pytest.approx(age)
    cmig = np.sqrt((heart + fluid) / 2 * np.sqrt(race * max(age, 0)))
    assert found["cmig"] == pytest.approx(cmig)
    assert (judges.placed()[1], rows["real"].values["kl"].value) == (["Hernia"], 0)


def test_a_negative_correlation_counts_as_nothing_and_is_shown() -> None:
    ages = {name: {"race": "WBWBWB"[n], "age": str(100 - n)} for n, name in enumerate("abcdef")}
    images, judges, _ = judged()
    judges = replace(judges, people=ages)
    rising = [np.full((4, 4), (n + 1) / 8) for n in range(6)]
    row = ImagesToJudge(rising, list("abcdef"), [read_statements(report) for report in REPORTS])
    values: Any = judged_edits(judges, {"real": row}, "real").rows["real"].values
    assert values["age"].value == pytest.approx(-1) and values["cmig"].value == 0


def test_the_divergence_is_that_of_two_distributions_of_each_finding() -> None:
    real = np.array([[True], [True], [False], [False]])
    made = np.array([[True], [False], [False], [False]])
    p, q = 2.5 / 5, 1.5 / 5
    by_hand = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    assert label_divergence(real, made, np.ones(4)) == pytest.approx(by_hand)
    assert label_divergence(real, real, np.ones(4)) == 0


def test_labels_of_networks_mean_findings_of_reports() -> None:
    assert (
        finding_named("Pleural_Effusion") == finding_named("Effusion") == ("pleural effusion", None)
    )
    assert finding_named("right pleural effusion") == ("pleural effusion", "right")
    assert finding_named("Pleural Other") == ("pleural other", None)
    assert finding_named("No Finding") is None and finding_named("Hernia") is None
    said = read_statements("Right pleural effusion. Possible pneumonia.")
    assert state_of(said, "pleural effusion", None) is state_of(said, "pleural effusion", "right")
    assert state_of(said, "pleural effusion", "left") is False  # not spoken of
    assert state_of(said, "pneumonia", None) is None
    assert state_of(read_statements("Pleural effusion."), "pleural effusion", "left") is None
    assert state_of({}, "cardiomegaly", None) is None


def own_folders(folder: Path, patients: list[str]) -> EditsConfig:
    """Return judges in real folders, and a table of the patients."""
    names = {0: "Right_Pleural_Effusion", 1: "Cardiomegaly", 2: "Hernia"}
    for name, problem, labels in (
        ("findings", "multi_label_classification", names),
        ("age", "regression", {0: "age"}),
    ):
        vision_transformer(folder / name, problem_type=problem, id2label=labels)
    (folder / "race").mkdir()
    network = torchvision.models.get_model("shufflenet_v2_x0_5", weights=None, num_classes=2)
    save_file(network.state_dict(), folder / "race" / "model.safetensors")
    told = {"torchvision": "shufflenet_v2_x0_5", "kind": "classes", "labels": ["A", "B"]}
    (folder / "race" / "config.json").write_text(json.dumps({**told, "side": 32}))
    with (folder / "people.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["patient", "race", "age"])
        writer.writerows([one, "AB"[n % 2], 30 + n] for n, one in enumerate(patients))
    return EditsConfig(
        num_patients=8,
        num_flips=1,
        findings=str(folder / "findings"),
        attributes=f"age={folder / 'age'}, race={folder / 'race'}",
        attributes_of=folder / "people.csv",
    )


def test_a_users_judges_read_every_row_and_real_films(workspace: Workspace, tmp_path: Path) -> None:
    drawn = make_demo(workspace, JourneyDemo(num_patients=60, side=SIDE))
    describe_journeys(workspace, DescribeConfig(), progress)
    version = untrained(workspace)
    with drawn.table.open() as file:
        patients = sorted({row["patient"] for row in csv.DictReader(file)})
    config = own_folders(tmp_path, patients)
    settings = SamplingSettings(num_steps=2, batch_size=16)
    found = evaluate_edits(workspace, version.id, config, settings)
    assert found.judged is not None
    rows = found.judged.rows
    assert {OURS, COPY, FOLLOW_UP, REAL} < set(rows) and rows[REAL].num_edits > 8
    for name in ("pathology", "age", "race"):
        assert rows[REAL].values[name] is not None and rows[OURS].values[name] is not None
    assert rows[OURS].values["kl"] is not None and rows[REAL].values["kl"] is None
    told = "\n".join(found.lines())
    assert "pathology AUC" in told and "age r" in told and "race AUC" in told
    assert "left aside, none of the 14: Hernia" in told and "age is known of" in told
    assert NOT_NAMED not in told
    assert set(found.to_json()["own_judges"]["rows"]) == set(rows)

    alone = replace(found, judged=None).lines()
    assert NOT_NAMED in alone


def test_without_a_judge_of_findings_there_is_no_cmig_and_it_says_why() -> None:
    _, judges, _ = judged()
    row = ImagesToJudge(some_images(1), list("abcdef"), [read_statements(one) for one in REPORTS])
    found = judged_edits(replace(judges, findings=None), {"real": row}, "real")
    values = found.rows["real"].values
    assert values["cmig"] is values["pathology"] is values["kl"] is values["age"] is None
    told = "\n".join(found.lines())
    assert "findings by nobody" in told and "age is known of 0 patients" in told


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"findings": "nonesuch"}, "No judge 'nonesuch'"),
        ({"findings": "RACE"}, "--findings needs probabilities of each finding"),
        ({"attributes": "age"}, "write age=MODEL,race=MODEL"),
        ({"attributes": "age=AGE,age=AGE"}, "each once"),
        ({"attributes": "sex=FINDINGS"}, "needs classes or one number"),
        ({"attributes": "age=AGE", "attributes_of": None}, "needs --attributes-of TABLE"),
        ({"attributes": "sex=RACE"}, "sex"),
        ({"table": "patient,age\np1,old\n"}, "age 'old' is not a number"),
        ({"table": "patient,age\np1,40\np1,41\n"}, "p1 is there twice"),
    ],
)
def test_what_is_amiss_is_told_in_a_line(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    config, changes = own_folders(tmp_path, ["p1", "p2"]), dict(changes)
    if "table" in changes:
        (tmp_path / "people.csv").write_text(changes.pop("table"))
        changes["attributes"] = "age=AGE"
    for name in ("findings", "attributes"):
        if changes.get(name):
            for folder in ("FINDINGS", "RACE", "AGE"):
                changes[name] = changes[name].replace(folder, str(tmp_path / folder.lower()))
    with pytest.raises(CurateError, match=why):
        own_judges(replace(config, **changes))
