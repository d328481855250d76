"""The practice page: an image, its questions, and afterwards what is known and why.

A page of our own and no project in Label Studio: what is known of an image leaves this process only
after the answer is a row, and no answer can land among ratings. It is rendered here and asks nobody
else; every answer is the number of its image, so a page that is loaded or sent again changes
nothing.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import UUID

import jinja2

from annotation.base import ORIGIN
from annotation.label_studio.form import KEY_ROWS, ORIGIN_KEYS
from annotation.label_studio.gateway import PLACE, Reading, Reply
from annotation.label_studio.gateway_rules import UUID as ID
from curate.errors import USER_ERRORS
from curate.image_service.picture import StudyPictures
from curate.rating.practised import (
    PracticeStanding,
    criteria_asked,
    image_asked,
    judged,
    record,
    standing,
    worded,
)
from curate.workspace import Workspace
from db import queries
from db.engine import Engine, open_session
from db.models import Practice, PracticeAnswer, Rater, Rubric
from db.queries.practices import PracticeImage

HERE = Path(__file__).parent
ASKED = re.compile(
    rf"{PLACE}(?P<id>{ID})(?:/(?P<number>[0-9]{{1,6}})(?:/(?P<name>[a-z]+[1-9]?)\.png)?)?"
)
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = (("Cache-Control", "no-store"), ("Content-Security-Policy", CSP))
FILES = {"page.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8"}


@dataclass(frozen=True)
class _Visit:
    """One rater at one practice, as the rows are now."""

    ws: Workspace
    practice: Practice
    images: Sequence[PracticeImage]
    rater: Rater
    answers: Sequence[PracticeAnswer]

    @property
    def standing(self) -> PracticeStanding:
        return standing(self.practice, self.images, self.rater, self.answers)


class PracticeDoor:
    """Raters' practices, as pages at the gateway; each request reads by a session of its own."""

    def __init__(self, ws: Workspace, passed: Callable[[], None]) -> None:
        """`passed` is told when a rater has met the bar: what comes after it may be sent."""
        bind = ws.session.get_bind()
        assert isinstance(bind, Engine)
        self._ws, self._engine, self._passed = ws, bind, passed
        self._pages = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def readings(self, email: str) -> list[Reading]:
        """Return the practices that the rater has not passed yet."""
        with open_session(self._engine) as session:
            ws = replace(self._ws, session=session)
            rater = _rater(ws, email)
            found = []
            for practice in (
                queries.practices.practices_asked_of(session, rater.id) if rater else ()
            ):
                assert rater is not None
                now = _visit(ws, practice, rater).standing
                if not now.has_passed:
                    said = f"{now.num_begun} of {now.pass_size} in pass {len(now.passes) + 1}"
                    found.append(Reading("Practice", f"{PLACE}{practice.id}", said))
            return found

    def reply(self, email: str, method: str, path: str, form: Mapping[str, str]) -> Reply:
        """Answer a request of the rater with this address."""
        name = path.removeprefix(PLACE)
        if method == "GET" and name in FILES:
            return _answer(HTTPStatus.OK, (HERE / name).read_bytes(), FILES[name])
        asked = ASKED.fullmatch(path)
        if asked is None or method not in ("GET", "POST"):
            return _nothing()
        with open_session(self._engine) as session:
            ws = replace(self._ws, session=session)
            rater = _rater(ws, email)
            practice = session.get(Practice, UUID(asked["id"]))
            open_to = queries.practices.practices_asked_of(session, rater.id) if rater else ()
            if rater is None or practice is None or practice not in open_to:
                return _nothing()
            visit = _visit(ws, practice, rater)
            place = f"{PLACE}{practice.id}"
            if asked["number"] is None:
                return _moved(f"{place}/{len(visit.answers)}")
            number = int(asked["number"])
            if number > len(visit.answers):
                return _moved(f"{place}/{len(visit.answers)}")
            if method == "POST":
                return self._answered(visit, number, form)
            if asked["name"] is not None:
                return _picture(visit, number, asked["name"])
            return self._page(visit, number)

    def _answered(self, visit: _Visit, number: int, form: Mapping[str, str]) -> Reply:
        criteria = criteria_asked(visit.ws, visit.practice)
        given = {row.name: form.get(row.name, "") for row in criteria}
        here = f"{PLACE}{visit.practice.id}/{number}"
        if not all(value.isdecimal() for value in given.values()):
            return _moved(here)  # a browser lets no question be left out
        verdicts = {name: int(value) for name, value in given.items()}
        try:
            after = record(visit.ws, visit.practice, visit.images, visit.rater, number, verdicts)
        except USER_ERRORS as error:
            return _answer(HTTPStatus.BAD_REQUEST, f"{error}\n".encode(), "text/plain")
        if after.has_passed:
            self._passed()
        return _moved(here)

    def _page(self, visit: _Visit, number: int) -> Reply:
        """Show the image at hand with its questions, or one that was answered and what is known."""
        now, is_over = visit.standing, number == len(visit.answers) and visit.standing.has_passed
        values: dict[str, Any] = {
            "place": f"{PLACE}{visit.practice.id}",
            "number": number,
            "now": now,
            "is_over": is_over,
            "said": None,
        }
        if not is_over:
            one = image_asked(visit.practice, visit.images, visit.rater.name, number)
            said = visit.answers[number] if number < len(visit.answers) else None
            rubric = visit.ws.session.get_one(Rubric, visit.practice.rubric_id)
            which, place = divmod(number, visit.practice.pass_size)
            values |= {
                "asked": f"{one.prompt.modality}: {one.prompt.text}",
                "instructions": rubric.instructions or "Judge each image as in daily reading.",
                "pictures": [row.name for row in _pictures(visit, one)],
                "questions": _questions(visit, one, said),
                "said": said,
                "why": one.item.why if said else "",
                "pass_number": which + 1,
                "place_in_pass": place + 1,
                # of the pass that ends with this image: how many were right
                "ended": now.passes[which]
                if said and place + 1 == visit.practice.pass_size
                else None,
            }
        page = self._pages.get_template("page.html").render(values)
        return _answer(HTTPStatus.OK, page.encode(), "text/html; charset=utf-8")


def _questions(
    visit: _Visit, one: PracticeImage, said: PracticeAnswer | None
) -> list[dict[str, Any]]:
    """Return the questions as the rating form has them; once answered, with what is known."""
    found, rows = [], iter(KEY_ROWS)
    met = judged(one.item, said.verdicts) if said else {}
    for criterion in criteria_asked(visit.ws, visit.practice):
        keys = ORIGIN_KEYS if criterion.kind == ORIGIN else next(rows, "")
        values = range(criterion.min_value, criterion.max_value + 1)
        answers = [
            (value, worded(criterion, value), keys[place] if place < len(keys) else "")
            for place, value in enumerate(values)
        ]
        low, high = one.item.known.get(criterion.name, [0, -1]) if said else [0, -1]
        found.append(
            {
                "name": criterion.name,
                "text": criterion.question,
                "answers": answers,
                "given": said.verdicts.get(criterion.name) if said else None,
                "known": [text for value, text, _ in answers if low <= value <= high],
                "is_right": met.get(criterion.name),
            }
        )
    return found


def _pictures(visit: _Visit, one: PracticeImage) -> list[queries.campaigns.ShownImage]:
    shown = queries.practices.shown_images(visit.ws.session, visit.practice.id)
    return [row for row in shown if row.assignment_id == one.item.id]


def _picture(visit: _Visit, number: int, name: str) -> Reply:
    shown = queries.practices.shown_images(visit.ws.session, visit.practice.id)
    one = image_asked(visit.practice, visit.images, visit.rater.name, number)
    wanted = [row for row in _pictures(visit, one) if row.name == name]
    if not wanted or (number == len(visit.answers) and visit.standing.has_passed):
        return _nothing()
    encoded = visit.ws.store.get(wanted[0].file_sha256)
    return _answer(HTTPStatus.OK, StudyPictures(shown).png(encoded, wanted[0]), "image/png")


def _rater(ws: Workspace, email: str) -> Rater | None:
    """Return the rater with this address, if there is one."""
    same = [
        row
        for row in queries.campaigns.raters(ws.session)
        if str(row.config.get("email", "")).casefold() == email.casefold() and email
    ]
    return same[0] if same else None


def _visit(ws: Workspace, practice: Practice, rater: Rater) -> _Visit:
    images = queries.practices.images_of(ws.session, practice.id)
    answers = queries.practices.answers_of(ws.session, practice.id, rater.id)
    return _Visit(ws, practice, images, rater, answers)


def _answer(status: HTTPStatus, body: bytes, kind: str) -> Reply:
    return Reply(status, body, (("Content-Type", kind), *HEADERS))


def _nothing() -> Reply:
    return _answer(HTTPStatus.NOT_FOUND, b"There is nothing of yours here.\n", "text/plain")


def _moved(target: str) -> Reply:
    return Reply(HTTPStatus.SEE_OTHER, b"", (("Location", target), *HEADERS))
