from xml.etree import ElementTree

import pytest

from annotation.base import ORIGIN, PREFERENCE, Question, Study
from annotation.errors import AnnotationError
from annotation.label_studio.form import labelling_form

QUALITY = Question(name="quality", text='Is it "good" & < real?', min_value=1, max_value=3)
ANATOMY = Question(
    name="anatomy", text="Plausible?", min_value=1, max_value=5, wording={"5": "as in life"}
)
BETTER = Question(name="quality", text="Better?", min_value=1, max_value=3, kind=PREFERENCE)
LOOKS = Question(name="origin", text="Real?", min_value=1, max_value=3, kind=ORIGIN)


def form(*questions: Question, **study: object) -> ElementTree.Element:
    return ElementTree.fromstring(
        labelling_form(
            Study(uid="s", name="n", instructions="", questions=questions, **study)  # type: ignore[arg-type]
        )
    )


def test_every_answer_has_a_key_of_its_own() -> None:
    found = form(QUALITY, ANATOMY, LOOKS, reasons=("blur", "grain"))
    keys = [choice.get("hotkey") for choice in found.iter("Choice")]
    assert None not in keys
    assert len(set(keys)) == len(keys) == 3 + 5 + 3 + 2


def test_what_is_stored_is_the_value_and_what_is_shown_its_wording() -> None:
    (choices,) = [c for c in form(ANATOMY).iter("Choices") if c.get("name") == "verdict-anatomy"]
    assert [choice.get("alias") for choice in choices] == ["1", "2", "3", "4", "5"]
    assert choices[-1].get("value") == "5 as in life"
    assert choices.get("required") == "true"


def test_any_text_may_be_asked() -> None:
    assert QUALITY.text in [header.get("value") for header in form(QUALITY).iter("Header")]


def test_a_pair_shows_two_images_and_takes_left_tie_or_right() -> None:
    found = form(BETTER, pictures=("left", "right"))
    assert [image.get("value") for image in found.iter("Image")] == ["$image", "$other"]
    assert [choice.get("alias") for choice in found.iter("Choice")] == ["left", "tie", "right"]


def test_an_image_is_graded_beside_what_was_given_for_it() -> None:
    found = form(QUALITY, BETTER, pictures=("prior", "left"))
    assert [image.get("value") for image in found.iter("Image")] == ["$prior", "$image"]
    captions = [header.get("value") for header in found.iter("Header")]
    assert captions[:2] == ["prior", "to be rated"]
    graded, compared = found.iter("Choices")  # two pictures make no comparison: the question does
    assert [choice.get("alias") for choice in graded] == ["1", "2", "3"]
    assert [choice.get("alias") for choice in compared] == ["left", "tie", "right"]


def test_a_volume_stands_as_its_slices_three_in_a_row_beside_what_it_was_made_from() -> None:
    slices = [f"left{n}" for n in range(1, 8)]
    found = form(QUALITY, reasons=("blur",), pictures=("prior", *slices))
    images = [image.get("value") for image in found.iter("Image")]
    assert images == ["$prior", *(f"$image{n}" for n in range(1, 8))]
    heights = {image.get("maxHeight") for image in found.iter("Image")}
    assert heights == {"calc(100vh - 118px)", "calc((100vh - 118px) / 3)"}
    cells = [view for view in found.iter("View") if "0 0 33%" in view.get("style", "")]
    assert [len(cell.findall("Image")) for cell in cells] == [1] * 7
    captions = [header.get("value") for header in found.iter("Header")]
    assert captions[:2] == ["prior", "to be rated"]
    fields = [*found.iter("Choices"), *found.iter("TextArea")]
    assert [field.get("toName") for field in fields] == ["image1"] * 3


def test_two_volumes_are_compared_slice_by_slice() -> None:
    pictures = tuple(f"{side}{n}" for side in ("left", "right") for n in (1, 2))
    found = form(BETTER, pictures=pictures)
    columns = [
        [image.get("value") for image in view.iter("Image")]
        for view in found.iter("View")
        if view.get("style", "").startswith("flex:1 1 50%")
    ]
    assert columns == [["$image1", "$image2"], ["$other1", "$other2"]]


def test_no_field_belongs_to_two_images() -> None:
    """Label Studio loses answers to a field with two targets."""
    found = form(BETTER, pictures=("left", "right"))
    assert {choices.get("toName") for choices in found.iter("Choices")} == {"image"}


def test_more_answers_than_keys_are_refused() -> None:
    wide = Question(name="wide", text="?", min_value=1, max_value=12)
    with pytest.raises(AnnotationError, match="12 answers and 9 keys"):
        form(wide)


def test_the_image_has_the_place_of_the_panels_that_no_rating_needs() -> None:
    (style,) = form(QUALITY).iter("Style")
    assert "sidepanels__wrapper { display: none" in (style.text or "")
