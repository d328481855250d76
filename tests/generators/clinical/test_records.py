"""Records as texts: what is unknown is never a "no", and what was said is read back."""

import re
from dataclasses import replace
from typing import Any

import pytest

from generators.clinical.records import EXAMPLE, STYLES, Field, FieldMap, read_field_map
from generators.errors import GeneratorError

ROW = {
    "Mapping ID": "A-17",
    "DIAGNOSIS": "IPF",
    "label": "1",
    "AGE": "68",
    "SEX": "M",
    "TYPE CTD": "systemic sclerosis",
    "SMOKING HISTORY": "Ex",
    "CTD DIAG DATE": "-300",
    "PACK-YEARS": "40.5",
    "SMOKING HISTORY STOP DATE": "3000",
    "RISK OCCUPATIONAL": "Yes",
    "RISK ENVIRONMENTAL": "No",
    "RISK PRECIPITINS": "No",
    "FAMILIAL PF AND/OR RARE VARIANT": "No",
}


@pytest.fixture(scope="module")
def dgm() -> FieldMap:
    return read_field_map(EXAMPLE)


@pytest.mark.parametrize("style", STYLES)
def test_every_pattern_of_missing_fields_is_clean_and_comes_back(dgm: FieldMap, style: str) -> None:
    fields = replace(dgm, style=style)
    whole = fields.clean(ROW)
    names = list(whole)
    assert len(names) == 14
    for pattern in range(2**14):
        record = {name: whole[name] for bit, name in enumerate(names) if pattern >> bit & 1}
        text = fields.build(record)
        assert not re.search(r"nan|None|,,|  | ,|,$", text), text
        assert fields.parse(text) == record


def test_a_table_is_cleaned(dgm: FieldMap) -> None:
    row = {
        "AGE": 0,
        "PACK-YEARS": "99999.0",
        "SMOKING HISTORY STOP DATE": "-12",
        "SEX": "Not Available",
        "RISK OCCUPATIONAL": float("nan"),
        "RISK ENVIRONMENTAL": None,
        "label": "0",
    }
    record = dgm.clean(row)
    assert record == {"label": "dead", "SMOKING HISTORY STOP DATE": 12}
    assert dgm.build(record) == "Lung CT scan: dead within one year, stopped smoking 12 days ago."


def test_an_unknown_exposure_is_not_said_to_be_none(dgm: FieldMap) -> None:
    for style in STYLES:
        assert "no occupational" not in replace(dgm, style=style).build({"AGE": 50})
    said = replace(dgm, style="no information").build({"AGE": 50})
    assert "RISK OCCUPATIONAL: no information" in said


@pytest.mark.parametrize(
    "cell",
    ["a, b", 'said "so"', "two\nlines", "No information", "Ärztin", "日本", "a.", "\\", " x", "7"],
)
def test_whatever_a_cell_holds_comes_back(dgm: FieldMap, cell: str) -> None:
    record = {"DIAGNOSIS": cell, "AGE": 61, "TYPE CTD": cell}
    for style in STYLES:
        fields = replace(dgm, style=style)
        assert fields.parse(fields.build(fields.clean(record))) == record


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"AGE": "68y"}, "AGE is '68y', which is not a number in years"),
        ({"AGE": 816}, "AGE is 816, outside 0 to 120 in years. Is it in another unit"),
        ({"SEX": "X"}, "SEX is 'X'; known: male, female, M, F"),
        ({"WEIGHT": 80}, "No field 'WEIGHT'. Known: Mapping ID, DIAGNOSIS"),
    ],
)
def test_what_a_field_cannot_be_is_refused(dgm: FieldMap, row: dict[str, Any], says: str) -> None:
    with pytest.raises(GeneratorError, match=re.escape(says)):
        dgm.clean(row)


def test_a_map_whose_texts_could_not_be_told_apart_is_refused() -> None:
    one = Field("dose", "number", clause="{value} a day")
    for other, says in (
        (Field("calls", "number", clause="{value} a day"), "say '1 a day'"),
        (Field("any", "text", clause="{value}"), "could be said by"),
        (Field("side", "text", clause="side, {value}"), "no comma"),
        (Field("side", "text", clause="side"), "needs {value} once"),
        (Field("side", "choice"), "or a choice with values"),
        (Field("side", "choice", values={"l": "left"}, order=("r",)), "has no value 'r'"),
    ):
        with pytest.raises(GeneratorError, match=says):
            FieldMap((one, other))


def test_a_map_is_kept_as_plain_values(dgm: FieldMap) -> None:
    assert FieldMap.from_json(dgm.to_json()) == dgm
    with pytest.raises(GeneratorError, match="Not a field map"):
        FieldMap.from_json({"colour": "red"})
