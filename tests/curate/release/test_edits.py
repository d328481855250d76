"""Edits that leave: how many patients stand behind them, and on which side of a split."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate.release.config import ExportConfig
from curate.release.manifest import manifest_bytes
from curate.release.splits import Member, split_by_group, split_of_imported
from curate.release.verify import verify_release
from curate.samples.pixels import pixels_hash, png_bytes
from db import queries
from db.models import Image, PromptCondition
from tests.curate.release.test_promised import PROMISE, _draw, _export


def give_priors(story: Any, whose: list[tuple[str | None, str | None]]) -> None:
    """Make every prompt of the story an edit: of one prior each, of these patients and splits."""
    session = story.ws.session
    prompts = sorted({image.prompt_id for image in story.images.values()})
    for place, prompt_id in enumerate(prompts):
        patient, split = whose[place % len(whose)]
        levels = np.random.default_rng(place).integers(0, 256, (32, 32)).astype(np.uint8)
        [sha] = queries.files.add_files(session, story.ws.store, [(png_bytes(levels), "image/png")])
        row = Image(
            file_sha256=sha,
            pixels_sha256=pixels_hash(levels),
            origin="real",
            prompt_id=prompt_id,
            shape=[1, 32, 32],
            patient=patient,
            split=split,
        )
        session.add(row)
        session.flush()
        session.add(
            PromptCondition(prompt_id=prompt_id, role="prior", file_sha256=sha, image_id=row.id)
        )
    session.commit()


def rows_of(folder: Path) -> list[dict[str, str]]:
    tables = sorted(folder.glob("images/**/metadata.csv"))
    return [row for table in tables for row in csv.DictReader(table.open())]


@pytest.mark.parametrize(
    ("whose", "patients", "nobody"),
    [
        ([("anna", "train"), ("ben", "train")], 2, 0),
        ([("anna", "train"), ("anna", "train")], 1, 0),
        ([("anna", "train"), (None, None)], 1, 1),
    ],
)
def test_the_certificate_says_how_many_patients_stand_behind_the_edits(
    story: Any, tmp_path: Path, whose: list[Any], patients: int, nobody: int
) -> None:
    give_priors(story, whose)
    _draw(story, lambda image: 3)
    done = _export(story, tmp_path / "release")
    manifest = json.loads((done.folder / "manifest.json").read_text())
    said = json.loads((done.folder / "certificate.json").read_text())["edits"]
    assert said == manifest["edits"] == (done.certificate or {})["edits"]
    assert (said["num_edits"], said["num_priors"]) == (done.num_kept, 2)
    assert (said["num_patients"], said["num_priors_of_nobody"]) == (patients, nobody)
    card = (done.folder / "README.md").read_text()
    assert f"edits of images of {patients} real patient" in card
    assert "no image shows a patient" not in card
    stand = "patients stand" if patients > 1 else "patient stands"
    assert any(f"{patients} real {stand} behind" in line for line in done.lines())
    kinds = {problem.kind for problem in verify_release(done.folder).problems}
    assert kinds <= {"item"}  # the story's prompts became edits afterwards
    manifest["images"].pop()
    (done.folder / "manifest.json").write_bytes(manifest_bytes(manifest))
    assert "edits" in {problem.kind for problem in verify_release(done.folder).problems}


def test_edits_of_one_prior_are_one_group_in_their_patients_split(
    story: Any, tmp_path: Path
) -> None:
    give_priors(story, [("anna", "test"), ("ben", "train")])
    config = ExportConfig(threshold=0.0, test_share=0.5)
    done = _export(story, tmp_path / "release", config)
    ids = sorted({image.prompt_id for image in story.images.values()})
    behind = queries.prompts.images_behind(story.ws.session, ids)
    whose = {prompt.text: behind[prompt.id][0].patient for prompt in story.prompts}
    places = {(whose[row["text"]], row["split"], row["group"]) for row in rows_of(done.folder)}
    assert {place[:2] for place in places} == {("anna", "test"), ("ben", "train")}
    assert len(places) == 2


def test_edits_of_one_patients_priors_are_one_group(story: Any, tmp_path: Path) -> None:
    give_priors(story, [("anna", "train")])
    done = _export(story, tmp_path / "release", ExportConfig(threshold=0.0))
    assert len({row["group"] for row in rows_of(done.folder)}) == 1 < done.num_kept


def test_with_a_single_split_edits_of_held_out_patients_are_counted_aloud(
    story: Any, tmp_path: Path
) -> None:
    give_priors(story, [("anna", "test")])
    done = _export(story, tmp_path / "release", ExportConfig(threshold=0.0))
    assert any(f"{done.num_kept} edits in train are of patients who" in x for x in done.lines())


def test_a_release_without_edits_says_nothing_of_them(story: Any, tmp_path: Path) -> None:
    _draw(story, lambda image: 3)
    done = _export(story, tmp_path / "release", PROMISE)
    assert "edits" not in (done.certificate or {})
    assert "edits" not in json.loads((done.folder / "manifest.json").read_text())


@pytest.mark.parametrize(
    ("imported", "shares", "goes"),
    [
        ("test", {"train": 0.8, "test": 0.2}, "test"),
        ("val", {"train": 0.8, "test": 0.2}, "test"),
        ("test", {"train": 0.8, "validation": 0.2}, "validation"),
        ("train", {"train": 0.8, "test": 0.2}, "train"),
        (None, {"train": 0.8, "test": 0.2}, None),
        ("test", {"train": 1.0}, None),
    ],
)
def test_who_was_held_out_stays_held_out(
    imported: str | None, shares: dict[str, float], goes: str | None
) -> None:
    assert split_of_imported(imported, shares) == goes


def test_a_group_of_two_splits_goes_to_the_one_that_is_held_out_furthest() -> None:
    members = [Member("a", {"x"}, "test"), Member("b", {"x"}, "train"), Member("c", {"y"})]
    places = split_by_group(members, {"train": 0.5, "test": 0.5})
    assert places[0][0] == places[1][0] == "test"
