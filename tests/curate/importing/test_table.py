"""Every way a table is dirty: accepted, repaired and said so, or refused by file and line."""

from pathlib import Path

import pytest

from curate.errors import CurateError
from curate.importing.rows import COLUMNS
from curate.importing.table import Table, read_table
from curate.modalities import is_modality


def read(folder: Path, content: str | bytes) -> Table:
    path = folder / "table.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path, COLUMNS, is_modality)


def cells(table: Table) -> list[tuple[str, ...]]:
    return [tuple(row.cells.values()) for row in table.rows]


def said(table: Table) -> list[str]:
    return [str(remark) for remark in table.refused]


def test_the_published_form_is_read(tmp_path: Path) -> None:
    table = read(tmp_path, 'path,Text,modality\na.png,"Drusen, large.",OCT\n')
    assert cells(table) == [("a.png", "Drusen, large.", "OCT")]
    assert [row.line for row in table.rows] == [2]


@pytest.mark.parametrize(
    "header", ["path,Text,modal", "PATH, TEXT, Modality", "Path ,caption,modal"]
)
def test_other_spellings_casing_and_spaces_of_the_header_mean_the_same(
    tmp_path: Path, header: str
) -> None:
    table = read(tmp_path, f"{header}\na.png, drusen, OCT\n")
    assert table.columns == ("path", "Text", "modality")
    assert cells(table) == [("a.png", "drusen", "OCT")]


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_table(tmp_path: Path) -> None:
    table = read(tmp_path, b"\xef\xbb\xbfpath,Text,modality\r\na.png,drusen,OCT\r\n\r\n")
    assert cells(table) == [("a.png", "drusen", "OCT")]


def test_columns_may_stand_in_any_order(tmp_path: Path) -> None:
    table = read(tmp_path, "label,modality,Text,path\namd,OCT,drusen,a.png\n")
    assert table.rows[0].cells["path"] == "a.png"
    assert table.rows[0].cells["label"] == "amd"


def test_an_unquoted_comma_before_a_known_modality_belongs_to_the_text_and_is_noted(
    tmp_path: Path,
) -> None:
    table = read(tmp_path, "path,Text,modality\na.png,Drusen, large, left eye,OCT\n")
    assert cells(table) == [("a.png", "Drusen, large, left eye", "OCT")]
    assert [str(note) for note in table.notes] == [
        "table.csv:2: unquoted comma: Text is read as 'Drusen, large, left eye'"
    ]


def test_an_unquoted_comma_is_repaired_where_columns_follow_the_modality(tmp_path: Path) -> None:
    table = read(tmp_path, "path,Text,modality,label\na.png,Drusen, large,OCT,amd\n")
    assert cells(table) == [("a.png", "Drusen, large", "OCT", "amd")]


def test_an_unquoted_comma_in_the_last_column_is_repaired(tmp_path: Path) -> None:
    table = read(tmp_path, "path,Text\na.png,Macular OCT, drusen\n")
    assert cells(table) == [("a.png", "Macular OCT, drusen")]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("path,Text,modality", "a.png,Drusen, large,tomogram"),  # no known modality at the end
        ("path,Text,modality,label", "a.png,drusen,OCT,amd, wet"),  # the comma is in the label
        ("path,Text,modality,label", "a.png,OCT,OCT,OCT,amd"),  # could be either
        ("path,Text,label", "a.png,Drusen, large,amd"),  # nothing tells Text from label
        ("path,label,Text", "a.png,amd, wet,drusen"),  # the label may hold the comma
    ],
)
def test_an_unquoted_comma_that_could_stand_elsewhere_is_refused(
    tmp_path: Path, header: str, row: str
) -> None:
    table = read(tmp_path, f"{header}\n{row}\n")
    assert cells(table) == []
    assert said(table)[0].startswith("table.csv:2: ")
    assert "put quotes around a Text that has commas" in said(table)[0]


def test_a_short_row_is_refused_with_its_line(tmp_path: Path) -> None:
    table = read(tmp_path, "path,Text,modality\na.png,drusen,OCT\nb.png,drusen\n")
    assert said(table) == ["table.csv:3: 2 columns where the header has 3"]
    assert len(table.rows) == 1


def test_a_quote_that_is_never_closed_costs_one_row_and_not_the_rest(tmp_path: Path) -> None:
    table = read(
        tmp_path, 'path,Text,modality\na.png,"drusen,OCT\nb.png,"large, soft",OCT\nc.png,x,OCT\n'
    )
    assert [row.line for row in table.rows] == [3, 4]
    assert said(table)[0].startswith("table.csv:2: ")


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    table = read(tmp_path, 'path,Text,modality\na.png,"two\nlines",OCT\n\nb.png,drusen,OCT\n')
    assert [row.line for row in table.rows] == [2, 5]
    assert table.rows[0].cells["Text"] == "two\nlines"


def test_a_row_that_is_not_utf8_in_a_table_that_is_costs_this_row(tmp_path: Path) -> None:
    lines = ["path,Text,modality\n", "a.png,XX,OCT\n", "b.png,épaisseur,OCT\n"]
    table = read(tmp_path, "".join(lines).encode().replace(b"XX", b"\xe9paisseur"))
    assert [row.line for row in table.rows] == [3]
    assert said(table) == ["table.csv:2: byte 0xe9 is not UTF-8: save the table as UTF-8"]


def test_a_table_in_another_script_is_not_taken_for_windows_1252(tmp_path: Path) -> None:
    cyrillic = "path,Text,modality\na.png,норма,OCT\n".encode("cp1251")
    assert said(read(tmp_path, cyrillic))[0].startswith("table.csv:2: byte 0xed is not UTF-8")


ACCENTS = "path,Text,modality\na.png,épaisseur,OCT\nb.png,drusen,Fundus\n"
FORMS = {
    "semicolons": (ACCENTS.replace(",", ";"), "utf-8", "columns are separated by semicolons"),
    "tabs": (ACCENTS.replace(",", "\t"), "utf-8", "columns are separated by tabs"),
    "sep= line": ("sep=;\n" + ACCENTS.replace(",", ";"), "utf-8", "separated as 'sep=;' says"),
    "UTF-16": (ACCENTS, "utf-16", "the table is UTF-16"),
    "UTF-16 with tabs": (ACCENTS.replace(",", "\t"), "utf-16", "separated by tabs"),
    "Windows-1252": (ACCENTS, "cp1252", "read as Windows-1252: 'épaisseur' in line 2"),
    "Windows-1252, semicolons": (ACCENTS.replace(",", ";"), "cp1252", "separated by semicolons"),
}


@pytest.mark.parametrize("name", list(FORMS))
def test_tables_as_spreadsheets_write_them_are_read_with_a_note(tmp_path: Path, name: str) -> None:
    content, encoding, note = FORMS[name]
    table = read(tmp_path, content.replace("\n", "\r\n").encode(encoding))
    first = 3 if content.startswith("sep=") else 2
    assert [(row.line, dict(row.cells)) for row in table.rows] == [
        (first, {"path": "a.png", "Text": "épaisseur", "modality": "OCT"}),
        (first + 1, {"path": "b.png", "Text": "drusen", "modality": "Fundus"}),
    ]
    assert any(note in str(told) for told in table.notes)
    assert said(table) == []


def test_an_unquoted_separator_is_repaired_whichever_it_is(tmp_path: Path) -> None:
    table = read(tmp_path, "path;Text;modality\na.png;drusen; large;OCT\n")
    assert table.rows[0].cells["Text"] == "drusen; large"
    assert "unquoted semicolon" in str(table.notes[-1])


def test_words_that_say_nothing_are_empty_and_noted_once(tmp_path: Path) -> None:
    table = read(tmp_path, "path,Text,modality,label\nnan,nan,OCT,N/A\nb.png,x,OCT,-\n")
    assert [dict(row.cells) for row in table.rows] == [
        {"path": "nan", "Text": "", "modality": "OCT", "label": ""},
        {"path": "b.png", "Text": "x", "modality": "OCT", "label": ""},
    ]
    assert [str(told) for told in table.notes] == [
        "table.csv:2: Text 'nan' is read as empty, here and below",
        "table.csv:2: label 'N/A' is read as empty, here and below",
    ]


def test_a_column_without_a_meaning_is_left_aside_and_noted(tmp_path: Path) -> None:
    table = read(tmp_path, "path,Text,modality,mood\na.png,drusen,OCT,good\n")
    assert [str(note) for note in table.notes] == ["table.csv:1: column 'mood' is left aside"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("a.png,drusen,OCT\n", "path and Text must be among its columns"),
        ("", "the header is 'empty'"),
        ("path,Text,caption\n", "columns 'Text', 'caption' all mean Text"),
        ('path,"Text\n', "line 1: a quote is opened and not closed"),
    ],
)
def test_a_wrong_header_is_an_error_that_shows_a_right_one(
    tmp_path: Path, content: str, complaint: str
) -> None:
    with pytest.raises(CurateError, match="table.csv, line 1") as error:
        read(tmp_path, content)
    assert complaint in str(error.value)


def test_a_table_that_is_not_there_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(CurateError, match="No such file"):
        read_table(tmp_path / "none.csv", COLUMNS, is_modality)
