from pathlib import Path

import pytest

from curate.errors import CurateError
from curate.prompts import PromptLine, PromptSheet, prompts_from_options, read_prompt_sheet


def read(folder: Path, content: str, **options: str) -> PromptSheet:
    (folder / "prompts.csv").write_text(content)
    return read_prompt_sheet(folder / "prompts.csv", **options)


@pytest.mark.parametrize("column", ["text", "Text", "prompt", "description", "caption"])
def test_a_sheet_is_read_in_its_order(tmp_path: Path, column: str) -> None:
    sheet = read(
        tmp_path, f"modality,{column},label,count\nChest X-Ray,normal,,3\nOCT,drusen,amd,\n"
    )
    assert sheet.prompts == [
        PromptLine(modality="CXR", text="normal", count=3),
        PromptLine(modality="OCT", text="drusen", label="amd"),
    ]


def test_an_unquoted_comma_at_the_end_of_a_line_belongs_to_the_text(tmp_path: Path) -> None:
    sheet = read(tmp_path, "modality,text\nOCT,drusen, large\n")
    assert sheet.prompts[0].text == "drusen, large"
    assert "unquoted comma" in str(sheet.notes[0])


def test_bad_lines_are_named_and_the_good_ones_used(tmp_path: Path) -> None:
    sheet = read(
        tmp_path,
        "modality,text,count\nOCT,drusen,2\nCT,normal,1\nOCT,drusen,2\nOCT,,1\nOCT,scar,none\nOCT,x,0\n",
    )
    assert [line.text for line in sheet.prompts] == ["drusen"]
    said = [str(remark) for remark in sheet.refused]
    assert said[0].startswith("prompts.csv:3: modality 'CT' is not known")
    assert said[1:] == [
        "prompts.csv:4: the same prompt as line 2: say how many in a column count",
        "prompts.csv:5: the prompt's text is empty",
        "prompts.csv:6: count 'none': give a whole number from 1",
        "prompts.csv:7: count '0': give a whole number from 1",
    ]


def test_a_sheet_without_a_usable_line_is_an_error_that_shows_the_first_reason(
    tmp_path: Path,
) -> None:
    with pytest.raises(CurateError, match="no prompt to use .*prompts.csv:2: modality 'PET'"):
        read(tmp_path, "modality,text\nPET,normal\n")


def test_a_sheet_without_modalities_takes_the_option_s(tmp_path: Path) -> None:
    assert read(tmp_path, "text\ndrusen\n", modality="oct").prompts[0].modality == "OCT"


def test_options_give_each_text_with_each_modality_in_order() -> None:
    lines = prompts_from_options(["normal", "nodule"], ["CXR", "chest CT"])
    assert [(line.modality, line.text) for line in lines] == [
        ("CXR", "normal"),
        ("ChestCT", "normal"),
        ("CXR", "nodule"),
        ("ChestCT", "nodule"),
    ]


def test_a_prompt_may_bring_its_modality_before_a_colon() -> None:
    assert prompts_from_options(["OCT: drusen"], []) == [PromptLine(modality="OCT", text="drusen")]


def test_a_colon_after_anything_else_is_part_of_the_text() -> None:
    assert prompts_from_options(["grade: 2"], ["Fundus"])[0].text == "grade: 2"


def test_a_prompt_without_a_modality_is_an_error_with_what_to_do() -> None:
    with pytest.raises(CurateError, match="No modality: Text names none.*--modality"):
        prompts_from_options(["drusen"], [])


def test_no_prompt_at_all_is_an_error_with_what_to_do() -> None:
    with pytest.raises(CurateError, match="--prompts FILE"):
        prompts_from_options([], ["OCT"])
