"""Studies to pairs: four layouts give the same ones, and every bad row is named."""

import json
from pathlib import Path

import pytest

from curate.errors import CurateError
from curate.importing.errors import Refused
from curate.journeys.config import JourneyDemo, JourneyImport
from curate.journeys.demo import make_demo
from curate.journeys.films import parse_date, parse_time, sections_of
from curate.journeys.phantoms import patients
from curate.journeys.study_import import import_studies
from curate.workspace import Workspace
from db import queries
from tests.curate.journeys.planted import plan, two_sexes, write

LAYOUTS = ("csv", "mimic-cxr", "chexpert-plus", "dicom")
REASONS = {
    "lateral": "view ",
    "no view": "no view",
    "second film": "another image of its study is taken",
    "no report": "no impression and no findings",
    "same time": "taken at the same time as study",
    "conflict": "conflict: one image, two rows",
    "two patients under one id": "two patients under one id",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_gives_the_planted_pairs_and_names_the_dirt(
    layout: str, tmp_path: Path, workspace: Workspace
) -> None:
    made = plan()
    if layout != "mimic-cxr":  # whose table names no sex
        two_sexes(made)
    folder = tmp_path / "data"
    folder.mkdir()
    table, dirt = write(layout, made, folder)
    reports = folder / "reports.csv" if layout == "dicom" else None
    imported = import_studies(workspace, table, JourneyImport(layout=layout, reports=reports))

    named = {f"{one.file}:{one.line}": one.text for one in imported.refused}
    assert named.keys() == dirt.keys()
    for place, kind in dirt.items():
        assert named[place].startswith(REASONS.get(kind, "")), (kind, named[place])
    pairs = queries.journeys.journeys(workspace.session)
    assert {(pair.prior.pixels_sha256, pair.new.pixels_sha256) for pair in pairs} == made.pairs
    splits: dict[str, set[str]] = {}
    for pair in pairs:
        splits.setdefault(pair.journey.patient, set()).add(pair.journey.split)
        assert pair.before.position < pair.after.position
        assert pair.new.split == pair.prior.split == pair.journey.split
    assert max(map(len, splits.values())) == 1
    if layout == "dicom":
        assert "DOE" not in str(splits) and not any("1000" in name for name in splits)


def test_importing_twice_adds_nothing(tmp_path: Path, workspace: Workspace) -> None:
    table, _ = write("csv", plan(6), tmp_path)
    first = import_studies(workspace, table, JourneyImport())
    again = import_studies(workspace, table, JourneyImport())
    assert first.num_journeys > 0
    assert (again.num_images, again.num_journeys) == (0, 0)


def test_the_published_split_of_mimic_has_p19_for_test(
    tmp_path: Path, workspace: Workspace
) -> None:
    made = plan(12)
    old = made.shots[0].patient
    moved = [
        shot if shot.patient != old else type(shot)(**{**vars(shot), "patient": 19_000_001})
        for shot in made.shots
    ]
    made.shots[:] = moved
    table, _ = write("mimic-cxr", made, tmp_path)
    import_studies(workspace, table, JourneyImport(layout="mimic-cxr"))
    of_test = queries.journeys.journeys(workspace.session, split="test")
    assert {pair.journey.patient for pair in of_test} == {"19000001"}


def test_pairs_too_far_apart_and_of_other_views_are_named(
    tmp_path: Path, workspace: Workspace
) -> None:
    made = plan(1)
    first = made.shots[0]
    later = made.shots[1]
    made.shots[:] = [
        first,
        type(first)(**{**vars(later), "day": first.day + 400}),
    ]
    table, _ = write("csv", made, tmp_path)
    imported = import_studies(workspace, table, JourneyImport())
    assert [str(one) for one in imported.refused] == [
        "studies.csv:3: 400 days after its prior; taken are 1 to 365"
    ]
    assert import_studies(workspace, table, JourneyImport(max_days=400)).num_journeys == 1


def test_strict_imports_nothing(tmp_path: Path, workspace: Workspace) -> None:
    table, _ = write("csv", plan(4), tmp_path)
    imported = import_studies(workspace, table, JourneyImport(strict=True))
    assert imported.stopped and not queries.images.images(workspace.session)


def test_a_table_of_another_layout_is_said_so(tmp_path: Path, workspace: Workspace) -> None:
    table, _ = write("csv", plan(2), tmp_path)
    with pytest.raises(CurateError, match="no column 'dicom_id'"):
        import_studies(workspace, table, JourneyImport(layout="mimic-cxr"))


def test_a_date_with_two_readings_is_refused() -> None:
    with pytest.raises(Refused, match="ambiguous"):
        parse_date("01/02/2020", None)
    assert parse_date("01/02/2020", "%d/%m/%Y").isoformat() == "2020-02-01"
    assert parse_date("13/02/2020", None).isoformat() == "2020-02-13"
    assert parse_date("02/13/2020", None).isoformat() == "2020-02-13"
    assert parse_date("20200213", None).isoformat() == "2020-02-13"


def test_times_are_read_as_dicom_and_people_write_them() -> None:
    assert parse_time("060000") == parse_time("60000.0") == parse_time("06:00") == 0.25
    with pytest.raises(Refused):
        parse_time("250000")


def test_indication_and_comparison_are_no_findings() -> None:
    report = "INDICATION: rule out pneumonia\nFINDINGS: Clear lungs.\nIMPRESSION:\n No change."
    assert sections_of(report) == {"findings": "Clear lungs.", "impression": "No change."}
    assert sections_of("Clear lungs.") == {"findings": "Clear lungs.", "impression": ""}
    assert sections_of("INDICATION: cough") == {"findings": "", "impression": ""}


def test_the_demo_is_imported_whole_and_its_truth_is_written(workspace: Workspace) -> None:
    made = make_demo(workspace, JourneyDemo(num_patients=8, side=16))
    drawn = patients(8)
    assert made.imported.num_images == sum(len(one.visits) for one in drawn)
    assert made.imported.num_journeys == sum(len(one.visits) - 1 for one in drawn)
    assert not made.imported.refused
    truth = json.loads((made.table.parent / "truth.json").read_text())
    [first, *_] = queries.journeys.journeys(workspace.session)
    of_first = truth[first.prior.source_path]
    said = [name for name, present in of_first["findings"].items() if present]
    assert first.before.impression.count(".") == max(1, len(said))
