"""A rater's label stream from its first task to its last: all that the browser is given on the way.

Task after task as the page asks for it, with its picture; each is answered, or no other would come.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from curate.rating.config import LOCAL, PushOptions
from curate.rating.label_studio import label_studio_backend
from curate.rating.plan import plan_campaign
from curate.rating.send import push, send_campaign
from curate.workspace import Workspace
from db import queries
from db.models import Assignment, Campaign, Image
from tests.annotation.label_studio.rater import QUALITY, Rater
from tests.curate.image_service.blindness import Fetched
from tests.curate.image_service.study import Truth, truths


@dataclass(frozen=True)
class Stream:
    """What raters' browsers got, and what they must not learn from it."""

    items: list[Fetched]
    truths: list[Truth]

    def real(self) -> list[bool]:
        return [truth.is_real for truth in self.truths]

    def good(self) -> list[bool]:
        return [truth.is_good for truth in self.truths]


def blind_stream(
    ws: Workspace, raters: Sequence[Rater], images: Sequence[Image], *, name: str, leaking: bool
) -> Stream:
    """Push the images to all raters and read what each is given; `leaking`: the good ones first."""
    options = PushOptions(
        name=name,
        origin="both",
        raters=tuple(rater.name for rater in raters),
        overlap=len(raters),
        control_fraction=0,
        repeat_fraction=0,
        among=frozenset(image.id for image in images),
        rubric=QUALITY,
    )
    campaign = plan_campaign(ws, options)
    if leaking:
        _good_ones_first(ws, campaign)
        done = send_campaign(ws, campaign, label_studio_backend(ws), images_from=LOCAL)
    else:
        done = push(ws, options, images_from=LOCAL)
    ws.session.commit()
    hidden = truths(ws, campaign)
    pages = [done.pages[rater.name] for rater in raters]
    with ThreadPoolExecutor(len(raters)) as pool:
        looks = [look for stream in pool.map(_read, raters, pages) for look in stream]
    assert len(looks) == len(hidden)
    return Stream([item for _, item in looks], [hidden[uid] for uid, _ in looks])


def _good_ones_first(ws: Workspace, campaign: Campaign) -> None:
    hidden = truths(ws, campaign)
    for rater in queries.campaigns.raters_of(ws.session, campaign.id):
        views = queries.campaigns.assignments(ws.session, campaign.id)
        own = [view for view in views if view.rater == rater.name]
        own.sort(key=lambda view: (not hidden[view.id].is_good, view.position))
        rows = [ws.session.get_one(Assignment, view.id) for view in own]
        for shift in (len(rows), 0):  # positions are unique at every moment
            for position, row in enumerate(rows, shift):
                row.position = position
            ws.session.flush()


def _read(rater: Rater, page: str) -> list[tuple[UUID, Fetched]]:
    project = int(page.split("/projects/")[1].split("/")[0])
    assert rater.log_in()
    found: list[tuple[UUID, Fetched]] = []
    while (answer := rater.client.get(f"/api/projects/{project}/next")).status_code == 200:
        task = answer.json()
        picture = rater.client.get(task["data"]["image"])
        assert picture.status_code == 200
        texts = _texts(task) | {f"next {name}": value for name, value in answer.headers.items()}
        texts |= {"next's length": str(len(answer.content))}
        item = Fetched(len(found), texts, dict(picture.headers), picture.content)
        found.append((UUID(task["data"]["uid"]), item))
        rater.rate(task, quality="2")
    return found


def _texts(task: dict[str, Any]) -> dict[str, str]:
    """Return every field of a task, those inside `data` by their own names."""
    fields = {key: str(value) for key, value in task.items() if key != "data"}
    return fields | {f"data {key}": str(value) for key, value in task["data"].items()}
