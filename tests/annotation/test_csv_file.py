import csv
import datetime as dt
from pathlib import Path

import pytest

from annotation.csv_file import RatingLine, read_ratings, write_ratings
from annotation.errors import AnnotationError

HEADER = "image_path,rating,modality,expert_level,prompt\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "ratings.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_is_written_is_read_back_without_loss(tmp_path: Path) -> None:
    lines = [
        RatingLine(image_path="a/1.png", rating=3, modality="OCT", prompt='drusen, "soft"', line=2),
        RatingLine(
            image_path="b ü.png",
            rating=1,
            modality="CXR",
            expert_level=1,
            prompt=" two\r\nlines ",
            rater="Dr. Ä",
            simulated=True,
            criterion="quality",
            purpose="control",
            campaign="first",
            rated_at=dt.datetime(2026, 1, 31, 12, 5, 9, 123456, tzinfo=dt.UTC),
            line=4,
        ),
    ]
    path = tmp_path / "ratings.csv"
    assert write_ratings(path, lines) == 2
    assert read_ratings(path) == (lines, [])


def test_no_cell_is_a_formula_to_a_spreadsheet(tmp_path: Path) -> None:
    texts = ["=HYPERLINK(1)", "+1", "-no drusen", "@x", "\tx", "'=1", "''-1", "'quoted'", "drusen"]
    lines = [
        RatingLine(image_path="x.png", rating=1, prompt=text, rater=text, line=place + 2)
        for place, text in enumerate(texts)
    ]
    path = tmp_path / "ratings.csv"
    write_ratings(path, lines)
    with path.open(newline="", encoding="utf-8") as file:
        assert not [
            cell for row in csv.reader(file) for cell in row if cell[:1] in "=+-@\t" and cell
        ]
    assert read_ratings(path) == (lines, [])


def test_minims_own_file_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + 'x.png, 2.0,Chest CT,2,"nodule, left"\n\n')
    good, bad = read_ratings(path)
    assert bad == []
    assert good == [
        RatingLine(
            image_path="x.png",
            rating=2,
            modality="Chest CT",
            expert_level=2,
            prompt="nodule, left",
            line=2,
        )
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("x.png,good,OCT,3,drusen", "rating is 'good'; needed: a whole number"),
        ("x.png,2.5,OCT,3,drusen", "rating is '2.5'"),
        ('x.png,2,OCT,3,"dru"sen', "expected after"),
        ("x.png,inf,OCT,3,drusen", "rating is 'inf'"),
        ("x.png,2,OCT,9,drusen", "expert_level is 9"),
        ("x.png,2,OCT,3,soft, drusen", "6 cells under 5 columns"),
        (",2,OCT,3,drusen", "no image_path"),
    ],
)
def test_a_bad_line_is_named_and_the_good_ones_go_in(
    tmp_path: Path, line: str, reason: str
) -> None:
    path = written(tmp_path, f"{HEADER}a.png,1,OCT,3,drusen\n{line}\nb.png,3,OCT,3,drusen\n")
    good, bad = read_ratings(path)
    assert [row.image_path for row in good] == ["a.png", "b.png"]
    assert len(bad) == 1
    assert str(bad[0]).startswith(f"{path}:3: ")
    assert reason in str(bad[0])


def test_a_table_without_the_columns_is_refused_with_what_is_needed(tmp_path: Path) -> None:
    path = written(tmp_path, "path,score\nx.png,3\n")
    with pytest.raises(AnnotationError, match="needed once each: image_path,rating"):
        read_ratings(path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    with pytest.raises(AnnotationError, match="UTF-8"):
        read_ratings(path)


def test_a_header_with_a_torn_quote_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="not a table of ratings"):
        read_ratings(written(tmp_path, 'image_path,"rating\n'))
