"""Rubrics: what raters are asked, read from a TOML file and versioned.

A file that says something new under a known name is the rubric's next version, never an edit:
ratings keep pointing at the words that their raters saw.
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from annotation.base import ORIGIN, ORIGIN_ANSWERS
from curate.errors import CurateError
from curate.rating.edits import RUBRIC, are_edits
from curate.workspace import Workspace
from db import queries
from db.models import Criterion, Image, Rubric

RUBRIC_KEYS = {"name", "instructions", "reasons", "criteria", "ask_origin"}
CRITERION_KEYS = {"name", "question", "scale", "polarity", "wording"}
ORIGIN_QUESTION = "Is this a real image?"


def rubric_asked(ws: Workspace, path: Path | None, images: Sequence[Image]) -> Rubric:
    """Return the rubric that people are asked about these images: the file's, or the usual one.

    Usual is for edits their own, for all others the default.
    """
    return load_rubric(ws, RUBRIC if path is None and are_edits(ws, images) else path)


def load_rubric(ws: Workspace, path: Path | None) -> Rubric:
    """Return the file's rubric, added when it says something new; without a file the default.

    Raises CurateError when the file is no rubric.
    """
    if path is None:
        return queries.campaigns.default_rubric(ws.session)[0]
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        rubric, criteria = _rubric(found)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, _NoRubric) as error:
        raise CurateError(
            f"{path} is not a rubric: {error}. It needs name and [[criteria]] with name, question "
            "and scale = [lowest, highest]; see docs/rating.md."
        ) from error
    return queries.campaigns.get_or_add_rubric(ws.session, rubric, criteria)


class _NoRubric(ValueError):
    """What is wrong with a table that should be a rubric."""


def _rubric(found: Mapping[str, Any]) -> tuple[Rubric, list[Criterion]]:
    _check_keys(found, RUBRIC_KEYS, {"name", "criteria"}, "the file")
    reasons = found.get("reasons", [])
    if not isinstance(reasons, list) or not all(isinstance(reason, str) for reason in reasons):
        raise _NoRubric("reasons is a list of texts")
    rubric = Rubric(
        name=_text(found, "name"),
        version=0,  # given when it is added
        instructions=_text(found, "instructions") if "instructions" in found else "",
        reasons=reasons,
    )
    if not isinstance(found["criteria"], list) or not found["criteria"]:
        raise _NoRubric("there is no [[criteria]]")
    criteria = [
        _criterion(entry, rubric.id, place) for place, entry in enumerate(found["criteria"])
    ]
    if found.get("ask_origin", False) is True:
        criteria.append(
            Criterion(
                rubric_id=rubric.id,
                name="origin",
                kind=ORIGIN,
                position=len(criteria),
                question=ORIGIN_QUESTION,
                min_value=1,
                max_value=len(ORIGIN_ANSWERS),
                wording={str(value): answer for value, answer in enumerate(ORIGIN_ANSWERS, 1)},
            )
        )
    names = [criterion.name for criterion in criteria]
    if len(set(names)) < len(names):
        raise _NoRubric(f"two criteria have one name: {', '.join(sorted(names))}")
    return rubric, criteria


def _criterion(found: object, rubric_id: UUID, place: int) -> Criterion:
    where = f"criterion {place + 1}"
    if not isinstance(found, dict):
        raise _NoRubric(f"{where} is no table")
    _check_keys(found, CRITERION_KEYS, {"name", "question", "scale"}, where)
    name = _text(found, "name")
    if not name.replace("-", "_").isidentifier() or not name.isascii():
        raise _NoRubric(f"{where} is named {name!r}; needed: letters, digits and - only")
    scale, polarity = found["scale"], found.get("polarity", "higher")
    is_scale = isinstance(scale, list) and [type(end) for end in scale] == [int, int]
    if not is_scale or not 0 <= scale[0] < scale[1]:
        raise _NoRubric(f"the scale of {name} is {scale}; needed: [lowest, highest], whole numbers")
    if polarity not in ("higher", "lower"):
        raise _NoRubric(f"the polarity of {name} is {polarity!r}; needed: higher or lower")
    wording, values = found.get("wording", {}), range(scale[0], scale[1] + 1)
    if not isinstance(wording, dict) or not wording.keys() <= {str(value) for value in values}:
        known = ", ".join(str(value) for value in values)
        raise _NoRubric(f"the wording of {name} has other keys than {known}")
    return Criterion(
        rubric_id=rubric_id,
        name=name,
        position=place,
        question=_text(found, "question"),
        min_value=scale[0],
        max_value=scale[1],
        polarity=polarity,
        wording={key: _text(wording, key) for key in wording},
    )


def _text(found: Mapping[str, Any], key: str) -> str:
    if not isinstance(found[key], str) or not found[key].strip():
        raise _NoRubric(f"{key} is {found[key]!r}; needed: a text")
    return " ".join(found[key].split())


def _check_keys(found: Mapping[str, Any], known: set[str], needed: set[str], where: str) -> None:
    if unknown := found.keys() - known:
        raise _NoRubric(
            f"{where} has {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}"
        )
    if missing := needed - found.keys():
        raise _NoRubric(f"{where} has no {', '.join(sorted(missing))}")
