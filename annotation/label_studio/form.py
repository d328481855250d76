"""A study as a labelling form: one key an answer, Ctrl+Enter sends it.

Field names are `verdict-<question>`, `reasons` and `comment`; answers.py reads them back. An answer
is an alias ("3"), so that its wording may hold anything.
"""

import math
from collections.abc import Sequence
from itertools import groupby, zip_longest
from xml.sax.saxutils import quoteattr

from annotation.base import ORIGIN, ORIGIN_ANSWERS, PREFERENCE, PREFERENCES, Question, Study
from annotation.errors import AnnotationError

VERDICT = "verdict-"
FIELDS = {"left": "image", "right": "other"}  # a picture's name in a project, where it is another
REASONS, COMMENT = "reasons", "comment"
# Keys a question, one row of the keyboard each; the same place on QWERTY and QWERTZ. Label Studio
# keeps some letters for its own tools: these are free where a form has no regions.
KEY_ROWS = ("123456789", "qwert", "asdfg")
ORIGIN_KEYS = "jkl"
REASON_KEYS = "uiopnm"
# The panels beside the form are for regions, which nobody draws here: their place is the image's.
# Questions stand closer, so that a usual rubric is seen whole on a laptop (768 pixels high).
STYLE = (
    ".lsf-sidepanels { padding: 0 !important } "
    ".lsf-sidepanels__wrapper { display: none !important } "
    ".lsf-sidepanels__content { width: 100% !important; max-width: 100% !important } "
    ".lsf-main-view h4, .lsf-choices { margin: 6px 0 !important }"
)
BESIDE_IMAGE = 118  # pixels of the page's height that bars and margins take
PREFERENCE_WORDING = {"left": "left is better", "tie": "no difference", "right": "right is better"}


def labelling_form(study: Study) -> str:
    """Return the form in Label Studio's XML; AnnotationError when it has more than it has keys.

    Images and questions stand side by side: below a tall image questions would be off-screen.
    """
    flaws, target = "", _target(study)
    if study.reasons and any(question.kind != PREFERENCE for question in study.questions):
        choices = "".join(
            f"<Choice value={quoteattr(reason)}{f' hotkey={quoteattr(key)}' if key else ''}/>"
            for reason, key in zip_longest(study.reasons, REASON_KEYS[: len(study.reasons)])
        )
        flaws = (
            "<Header value='What is wrong with it?' size='5'/>"
            f"<Choices name='{REASONS}' toName='{target}' choice='multiple' "
            f"showInline='true'>{choices}</Choices>"
        )
    return (
        f"<View><Style>{STYLE}</Style>"
        '<View style="display:flex; gap:16px; align-items:flex-start">'
        f'<View style="flex:1 1 auto; min-width:0">{_images(study)}</View>'
        '<View style="flex:0 0 330px">'
        '<Header value="$asked" size="4"/>'
        f"{_questions(study, target)}{flaws}"
        f"<TextArea name='{COMMENT}' toName='{target}' rows='1' maxSubmissions='1' "
        "editable='true' placeholder='Comment'/>"
        "</View></View></View>"
    )


def field_of(name: str) -> str:
    """Return what a project calls the picture of this name: "left2" is its "image2"."""
    side = _whole(name)
    return FIELDS.get(side, side) + name[len(side) :]


def _whole(name: str) -> str:
    """Return the name of the picture that this one is a slice of, or its own."""
    return name.rstrip("123456789")


def _target(study: Study) -> str:
    """Return the one picture that answers hang on: Label Studio loses those that hang on two."""
    return next(field_of(name) for name in study.pictures if _whole(name) in FIELDS)


def _images(study: Study) -> str:
    """Several stand side by side; where one was given for another, each says what it is.

    Slices of a volume stand in rows, from left to right and down, as they follow in the volume.
    """
    with_captions = not {_whole(name) for name in study.pictures} <= FIELDS.keys()
    columns = []
    for whole, names in groupby(study.pictures, _whole):
        caption = "to be rated" if whole in FIELDS else whole
        columns.append(
            (f"<Header value={quoteattr(caption)} size='5'/>" if with_captions else "")
            + _rows(list(names))
        )
    if len(columns) == 1:
        return columns[0]
    style = f"flex:1 1 {100 // len(columns)}%; min-width:0"
    beside = "".join(f'<View style="{style}">{column}</View>' for column in columns)
    return f'<View style="display:flex; gap:8px">{beside}</View>'


def _rows(names: Sequence[str]) -> str:
    """Return one picture, or several in as many rows as columns; all rows fit on the page."""
    in_a_row = math.ceil(math.sqrt(len(names)))
    num_rows = math.ceil(len(names) / in_a_row)
    height = f"100vh - {BESIDE_IMAGE}px"
    height = f"calc({height})" if num_rows == 1 else f"calc(({height}) / {num_rows})"
    images = [
        f'<Image name="{field_of(name)}" value="${field_of(name)}" zoom="true" zoomControl="true" '
        'brightnessControl="true" contrastControl="true" rotateControl="false" '
        f'defaultZoom="fit" maxHeight="{height}"/>'
        for name in names
    ]
    if len(images) == 1:
        return images[0]
    style = f"flex:0 0 {100 // in_a_row}%; min-width:0"
    cells = "".join(f'<View style="{style}">{image}</View>' for image in images)
    return f'<View style="display:flex; flex-wrap:wrap">{cells}</View>'


def _questions(study: Study, target: str) -> str:
    rows, written = iter(KEY_ROWS), ""
    for question in study.questions:
        answers = _answers(question)
        keys = ORIGIN_KEYS if question.kind == ORIGIN else next(rows, "")
        if len(answers) > len(keys):
            raise AnnotationError(
                f"The question {question.name!r} has {len(answers)} answers and {len(keys)} keys "
                f"are left. A form takes {len(KEY_ROWS)} questions, with at most "
                f"{', '.join(str(len(row)) for row in KEY_ROWS)} answers in this order."
            )
        choices = "".join(
            f"<Choice value={quoteattr(wording)} alias={quoteattr(alias)} hotkey={quoteattr(key)}/>"
            for (alias, wording), key in zip(answers, keys, strict=False)
        )
        written += (
            f"<Header value={quoteattr(question.text)} size='5'/>"
            f"<Choices name={quoteattr(VERDICT + question.name)} toName='{target}' "
            f"choice='single-radio' required='true'>{choices}</Choices>"
        )
    return written


def _answers(question: Question) -> list[tuple[str, str]]:
    """Return (what is stored, what is shown) for each answer, the lowest first."""
    if question.kind == PREFERENCE:
        return [(side, PREFERENCE_WORDING[side]) for side in PREFERENCES]
    if question.kind == ORIGIN:
        return [(answer, answer) for answer in ORIGIN_ANSWERS]
    return [
        (str(value), f"{value} {question.wording.get(str(value), '')}".strip())
        for value in range(question.min_value, question.max_value + 1)
    ]
