"""Columns that name condition images and clinical records: of imports and of prompt sheets."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from PIL import Image as Pillow
from sqlmodel import select

from curate.errors import CurateError
from curate.importing.conditions import ConditionImages
from curate.importing.real_images import Imported
from curate.importing.records import read_records
from curate.prompts.plan import planned
from curate.prompts.sheet import Beside, PromptSheet, read_prompt_sheet
from curate.samples.pixels import array_of
from curate.workspace import Workspace
from db import queries
from db.models import Image, Prompt, PromptCondition

ImportText = Callable[..., Imported]


def said(found: Imported | PromptSheet) -> list[str]:
    return [str(remark) for remark in found.refused]


def sheet(ws: Workspace, folder: Path, content: str, *, records: str | None = None) -> PromptSheet:
    (folder / "sheet.csv").write_text(content)
    if records is not None:
        (folder / "records.csv").write_text(records)
    return read_prompt_sheet(
        folder / "sheet.csv",
        Beside(
            modality="CXR",
            conditions=ConditionImages(ws, folder),
            records=None if records is None else read_records(folder / "records.csv"),
        ),
    )


def rows_of(ws: Workspace, found: PromptSheet) -> list[Prompt]:
    """Return the prompts' rows, added as `curate generate` adds them."""
    wanted = list(planned(ws, found.prompts, count=1, first_seed=0))
    return [ws.session.get_one(Prompt, want.prompt_id) for want in wanted]


def conditions(ws: Workspace, prompt: Prompt) -> dict[str, PromptCondition]:
    query = select(PromptCondition).where(PromptCondition.prompt_id == prompt.id)
    return {row.role: row for row in ws.session.exec(query)}


def imported_image(ws: Workspace, name: str) -> Image:
    return ws.session.exec(select(Image).where(Image.source_path == name)).one()


def test_a_sheet_names_files_and_what_the_workspace_has(
    workspace: Workspace, import_text: ImportText, folder: Path
) -> None:
    import_text("path,Text,modality,patient\na.png,normal,CXR,p1\n")
    image = imported_image(workspace, "a.png")
    found = sheet(
        workspace,
        folder,
        "text,mask,prior,source,condition:sketch\n"
        f"larger,b.png,a.png,{image.id},{image.file_sha256}\n",
    )
    [prompt] = rows_of(workspace, found)
    rows = conditions(workspace, prompt)
    assert array_of(workspace.store.get(rows["mask"].file_sha256)).shape == (12, 10)
    assert rows["mask"].image_id is None
    of_image = {role for role, row in rows.items() if row.image_id == image.id}
    assert of_image == {"prior", "source", "sketch"}
    assert {rows[role].file_sha256 for role in of_image} == {image.file_sha256}
    assert queries.prompts.patients_behind(workspace.session, [prompt.id]) == {prompt.id: {"p1"}}


def test_the_same_image_in_another_format_is_found_again_by_its_pixels(
    workspace: Workspace, import_text: ImportText, folder: Path
) -> None:
    import_text("path,Text,modality,patient\na.png,normal,CXR,p1\n")
    Pillow.open(folder / "a.png").save(folder / "a.bmp")
    [prompt] = rows_of(workspace, sheet(workspace, folder, "text,prior\nlarger,a.bmp\n"))
    image = imported_image(workspace, "a.png")
    assert conditions(workspace, prompt)["prior"].image_id == image.id
    assert queries.prompts.patients_behind(workspace.session, [prompt.id]) == {prompt.id: {"p1"}}


def test_what_cannot_be_found_costs_its_line_only(workspace: Workspace, folder: Path) -> None:
    Pillow.new("RGB", (10, 12), "red").save(folder / "red.png")
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:60])
    found = sheet(
        workspace,
        folder,
        "text,mask\none,none.png\ntwo,a.png\nthree,../x.png\n"
        f"four,{'0' * 64}\nfive,6f1e1f4e-31a5-4c8f-9d4a-111111111111\nsix,red.png\nseven,cut.png\n",
    )
    assert [line.text for line in found.prompts] == ["two"]
    assert [line.partition(": ")[0] for line in said(found)] == [
        f"sheet.csv:{line}" for line in (2, 4, 5, 6, 7, 8)
    ]
    assert said(found)[0] == "sheet.csv:2: mask: none.png: no such file in the data folder"
    assert "no file 000000000000 in the workspace" in said(found)[2]
    assert "no image 6f1e1f4e" in said(found)[3]
    assert "a mask has one channel" in said(found)[4]
    assert "damaged or cut short" in said(found)[5]


def test_a_palettes_indices_are_the_classes_of_a_mask(workspace: Workspace, folder: Path) -> None:
    classes = np.array([[0, 1], [2, 3]], np.uint8)
    painted = Pillow.fromarray(classes, "P")
    painted.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    painted.save(folder / "classes.png")
    [prompt] = rows_of(workspace, sheet(workspace, folder, "text,mask\nx,classes.png\n"))
    kept = workspace.store.get(conditions(workspace, prompt)["mask"].file_sha256)
    assert array_of(kept).tolist() == classes.tolist()


def test_a_grids_choices_stand_in_the_names_of_files(workspace: Workspace, folder: Path) -> None:
    found = sheet(workspace, folder, "text,mask,side\nnodule,{side}.png,a|b\n")
    masks = {line.conditions["mask"].file_sha256 for line in found.prompts}
    assert [line.text for line in found.prompts] == ["nodule", "nodule"]
    assert len(masks) == 2


def test_a_column_that_names_no_role_is_an_error(workspace: Workspace, folder: Path) -> None:
    with pytest.raises(CurateError, match=r"sheet.csv: column 'condition:a b': a role is"):
        sheet(workspace, folder, "text,condition:a b\nx,a.png\n")


def test_records_come_from_columns_json_and_a_table(workspace: Workspace, folder: Path) -> None:
    found = sheet(
        workspace,
        folder,
        "text,patient,record:age,record,record:ward\n"
        'x,p1,61,"{""smoker"": true}",007\n'
        "y,p1,62,,\n"
        "z,p2,,,\n"
        'v,p1,,"[1]",\n'
        'u,p1,,"{""crp"": NaN}",\n'
        "t,,,,\n",
        records="patient,age,crp\np1,61,3.5\n",
    )
    assert [line.record for line in found.prompts] == [
        {"age": 61, "crp": 3.5, "smoker": True, "ward": "007"}
    ]
    assert said(found) == [
        "sheet.csv:3: its record says age 61 and 62",
        "sheet.csv:4: patient 'p2' has no row in records.csv",
        'sheet.csv:5: record is not a JSON object such as {"age": 61}',
        "sheet.csv:6: record: NaN is not a value of JSON",
        "sheet.csv:7: no patient, by which records.csv names its records",
    ]
    [prompt] = rows_of(workspace, found)
    assert prompt.record == found.prompts[0].record


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("name,age\np1,61\n", "needs one column, patient or image"),
        ("patient,image,age\np1,a.png,61\n", "needs one column, patient or image"),
        ("patient,age\np1,61\np1,62\n", "records.csv:3: a second record of 'p1'"),
        ("patient,age\np1\n", "records.csv:2: 1 columns where the header has 2"),
    ],
)
def test_a_table_of_records_is_whole_or_refused(tmp_path: Path, table: str, problem: str) -> None:
    (tmp_path / "records.csv").write_text(table)
    with pytest.raises(CurateError, match=problem):
        read_records(tmp_path / "records.csv")


def test_a_prompt_without_conditions_or_record_keeps_its_hash(
    workspace: Workspace, folder: Path
) -> None:
    found = sheet(workspace, folder, "text,mask,record:age,record\nnormal,,,\n")
    assert found.prompts[0].prompt.prompt_id == queries.prompts.prompt_hash(
        modality="CXR", text="normal"
    )


TRIPLE = (
    "path,Text,modality,patient,mask,prior,record:age\n"
    "a.png,normal,CXR,p1,,,\nb.png,larger effusion,CXR,p1,c.png,a.png,61\n"
)


def test_an_imports_prior_is_another_of_its_images(
    workspace: Workspace, import_text: ImportText
) -> None:
    assert import_text(TRIPLE).imported == 2
    image = imported_image(workspace, "b.png")
    prompt = workspace.session.get_one(Prompt, image.prompt_id)
    rows = conditions(workspace, prompt)
    assert prompt.record == {"age": 61}
    assert rows["prior"].file_sha256 == imported_image(workspace, "a.png").file_sha256
    assert rows.keys() == {"mask", "prior"}
    assert queries.prompts.patients_behind(workspace.session, [prompt.id]) == {prompt.id: {"p1"}}
    before = queries.audit.counts(workspace.session)
    again = import_text(TRIPLE)
    assert (again.imported, again.already_there, again.refused) == (0, 2, [])
    assert queries.audit.counts(workspace.session) == before


def test_an_image_with_another_condition_or_record_contradicts_the_workspace(
    import_text: ImportText,
) -> None:
    import_text(TRIPLE)
    other = import_text(TRIPLE.replace("c.png", "d.png"))
    assert "with condition images {" in said(other)[0]
    older = import_text(TRIPLE.replace("61", "62"))
    assert "with record {'age': 61}; this row says {'age': 62}" in said(older)[0]


FIELDS = """opening = "Chest CT"
[[fields]]
name = "age"
kind = "number"
unit = "years"
range = [0, 120]
missing = [99999]
clause = "{value} years old"
[[fields]]
name = "smoking"
kind = "choice"
spellings = { N = "never" }
values = { never = "never a smoker", current = "current smoker" }
"""


def test_a_field_map_cleans_an_imports_records_and_says_what_no_text_says(
    workspace: Workspace, import_text: ImportText, folder: Path
) -> None:
    (folder / "fields.toml").write_text(FIELDS)
    (folder / "records.csv").write_text(
        "patient,age,smoking\np1,61,N\np2,99999,Not Available\np3,7000,N\np4,50,often\n"
    )
    table = "path,modality,patient,Text\na.png,CXR,p1,\nb.png,CXR,p2,as seen\nc.png,CXR,p3,\n"
    told = {"records": folder / "records.csv", "fields": folder / "fields.toml"}
    done = import_text(f"{table}d.png,CXR,p4,\n", **told)
    assert said(done) == [
        "data.csv:4: its record: age is 7000, outside 0 to 120 in years. Is it in another unit?",
        "data.csv:5: its record: smoking is 'often'; known: never, current, N",
    ]
    kept = {prompt.text: prompt.record for _, prompt in queries.images.images(workspace.session)}
    assert kept == {
        "Chest CT: 61 years old, never a smoker.": {"age": 61, "smoking": "never"},
        "as seen": {},
    }
    without = import_text("path,modality,patient\na.png,CXR,p1\n", **told)  # no column Text
    assert (without.already_there, said(without)) == (1, [])
    longer = import_text("path,modality,patient\na.png,CXR,p1,more\n", **told)
    assert said(longer) == ["data.csv:2: 4 columns where the header has 3"]
    unmapped = import_text(
        "path,modality,Text,record:weight\nb.png,CXR,x,70\n", **told | {"records": None}
    )
    assert "its record: No field 'weight'. Known: age, smoking" in said(unmapped)[0]


def test_an_import_joins_records_by_patient_or_by_image(
    workspace: Workspace, import_text: ImportText, folder: Path
) -> None:
    (folder / "records.csv").write_text("image,age\na.png,61\n")
    done = import_text(
        "path,Text,modality\na.png,normal,CXR\nb.png,normal,CXR\n", records=folder / "records.csv"
    )
    assert said(done) == ["data.csv:3: image 'b.png' has no row in records.csv"]
    [(_, prompt)] = queries.images.images(workspace.session)
    assert prompt.record == {"age": 61}


def test_a_strict_import_that_stops_keeps_no_condition_image(
    workspace: Workspace, import_text: ImportText
) -> None:
    stopped = import_text(TRIPLE + "none.png,x,CXR,,,,\n", strict=True)
    assert stopped.stopped
    assert list(workspace.store.list()) == []


def test_the_source_column_of_an_import_says_whence_an_image_came(
    workspace: Workspace, import_text: ImportText
) -> None:
    import_text("path,Text,modality,source,condition:source\na.png,normal,CXR,OCTDL,b.png\n")
    image = imported_image(workspace, "a.png")
    prompt = workspace.session.get_one(Prompt, image.prompt_id)
    assert image.source == "OCTDL"
    assert conditions(workspace, prompt).keys() == {"source"}


def test_records_may_stand_in_a_workbook(
    import_text: ImportText, workspace: Workspace, folder: Path
) -> None:
    book = openpyxl.Workbook()
    for row in (
        ["patient", "age", "sex", "seen"],
        ["p1", 61, "F", dt.date(2020, 1, 2)],
        ["p2", 70.5],
    ):
        book.active.append(row)
    book.save(folder / "records.xlsx")
    imported = import_text(
        "path,Text,modality,patient\na.png,x,CXR,p1\nb.png,y,CXR,p2\nc.png,z,CXR,p3\n",
        records=folder / "records.xlsx",
    )
    assert said(imported) == ["data.csv:4: patient 'p3' has no row in records.xlsx"]
    records = {prompt.text: prompt.record for _, prompt in queries.images.images(workspace.session)}
    assert records == {"x": {"age": 61, "sex": "F", "seen": "2020-01-02"}, "y": {"age": 70.5}}


def test_a_workbook_that_is_none_is_named(import_text: ImportText, folder: Path) -> None:
    (folder / "records.xlsx").write_bytes(b"PK no zip")
    with pytest.raises(CurateError, match="records.xlsx: not a whole workbook"):
        import_text("path,Text\na.png,x\n", records=folder / "records.xlsx")
