import tracemalloc
from pathlib import Path

import pytest

from curate.errors import CurateError
from curate.prompts.sheet import (
    Beside,
    PromptLine,
    PromptSheet,
    balanced,
    prompts_from_options,
    prompts_of_each_label,
    read_prompt_sheet,
    stream_prompts,
)


def read(folder: Path, content: str, *, modality: str | None = None) -> PromptSheet:
    (folder / "prompts.csv").write_text(content)
    return read_prompt_sheet(folder / "prompts.csv", Beside(modality=modality))


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


def texts(sheet: PromptSheet) -> list[str]:
    return [line.text for line in sheet.prompts]


def test_a_line_with_choices_is_a_grid(tmp_path: Path) -> None:
    sheet = read(
        tmp_path,
        "modality,text,label,count,finding,severity,side\n"
        'OCT|Fundus,"{severity} {finding}, {side} eye",{finding},5,'
        "drusen|edema,mild|severe,left|right\n",
    )
    assert len(sheet.prompts) == 16
    assert sheet.prompts[0] == PromptLine(
        modality="OCT", text="mild drusen, left eye", label="drusen", count=5
    )
    assert sheet.prompts[-1] == PromptLine(
        modality="Fundus", text="severe edema, right eye", label="edema", count=5
    )
    assert sheet.refused == []


def test_an_empty_choice_leaves_no_trace_in_the_text(tmp_path: Path) -> None:
    sheet = read(
        tmp_path,
        'modality,text,severity,side\nOCT,"{severity} drusen, {side}, macula",|mild,|left\n',
    )
    assert texts(sheet) == [
        "drusen, macula",
        "drusen, left, macula",
        "mild drusen, macula",
        "mild drusen, left, macula",
    ]


def test_a_placeholder_without_a_column_is_refused_by_name(tmp_path: Path) -> None:
    sheet = read(tmp_path, "modality,text\nOCT,{severity} drusen\nOCT,drusen\n")
    assert texts(sheet) == ["drusen"]
    assert "{severity} has no column 'severity'" in str(sheet.refused[0])


def test_combinations_that_read_the_same_are_made_once(tmp_path: Path) -> None:
    sheet = read(tmp_path, "modality,text,finding\nOCT,{finding},drusen|drusen|scar\n")
    assert texts(sheet) == ["drusen", "scar"]
    assert "the same prompt as line 2" in str(sheet.refused[0])


def test_seeds_are_planned_by_line(tmp_path: Path) -> None:
    sheet = read(tmp_path, "modality,text,seed\nOCT,drusen,1000\nOCT,scar,\nOCT,hole,-1\n")
    assert [line.seed for line in sheet.prompts] == [1000, None]
    assert "seed '-1': give a whole number from 0" in str(sheet.refused[0])


def test_counts_bring_every_label_to_the_target(tmp_path: Path) -> None:
    sheet = read(
        tmp_path,
        "modality,text,label\nOCT,drusen,amd\nOCT,large drusen,amd\nOCT,soft drusen,amd\n"
        "OCT,normal,normal\nCXR,normal,normal\n",
    )
    counts = prompts_of_each_label(iter(sheet.prompts))
    assert counts["OCT", "amd"] == 3
    have: dict[tuple[str, str | None], int] = {("OCT", "normal"): 40, ("OCT", "amd"): 2}
    lines = list(balanced(iter(sheet.prompts), counts, target=10, have=have))
    assert [(line.text, line.count) for line in lines] == [
        ("drusen", 3),
        ("large drusen", 3),
        ("soft drusen", 2),
        ("normal", 10),  # of CXR; OCT has enough
    ]


def test_a_count_of_its_own_contradicts_balance(tmp_path: Path) -> None:
    sheet = read(tmp_path, "modality,text,label,count\nOCT,drusen,amd,3\n")
    with pytest.raises(CurateError, match="asks for 3 images, and --balance"):
        prompts_of_each_label(iter(sheet.prompts))


def test_a_long_sheet_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    def peak(num_lines: int) -> int:
        path = tmp_path / f"{num_lines}.csv"
        with path.open("w") as file:
            file.write("modality,text\n")
            file.writelines(f"OCT,patient {i}\n" for i in range(num_lines))
        tracemalloc.start()
        count = sum(1 for _ in stream_prompts(path, refuse=lambda remark: None))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == num_lines
        return most

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curate.prompts.sheet.REMEMBERED", 500)
        peak(10)  # what is loaded once is loaded now
        assert peak(5000) < 1.5 * peak(1000)
