"""A project's tasks: sending those that are missing, reading those that changed."""

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from annotation.base import Task
from annotation.label_studio.form import field_of

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio

TASKS_A_REQUEST = 500
FILTER_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


def send_tasks(client: "LabelStudio", project_id: int, tasks: Sequence[Task]) -> int:
    """Import the tasks that are not there yet, in order; return how many.

    Label Studio numbers them as they come and shows them by number, so this order is the rater's.
    One that waits for its answer gets its pictures' new addresses: signed ones end.
    """
    there = {
        task["data"]["uid"]: task
        for task in _changed(client, project_id, since=None, fields="task_only")
        if isinstance(task["data"], Mapping) and "uid" in task["data"]
    }
    for task in tasks:
        known = there.get(task.uid)
        if known and not known.get("is_labeled") and known["data"] != _data(task):
            client.tasks.update(id=str(known["id"]), data=_data(task))
    missing = [task for task in tasks if task.uid not in there]
    for start in range(0, len(missing), TASKS_A_REQUEST):
        batch = missing[start : start + TASKS_A_REQUEST]
        client.projects.import_tasks(
            id=project_id, request=[{"data": _data(task)} for task in batch]
        )
    return len(missing)


def _data(task: Task) -> dict[str, str]:
    """All that a rater's browser gets: every key of it may be seen."""
    pictures = {field_of(name): address for name, address in task.pictures.items()}
    return {"uid": task.uid, **pictures, "asked": f"{task.modality}: {task.text}"}


def changed_tasks(
    client: "LabelStudio", project_id: int, since: dt.datetime | None
) -> list[dict[str, Any]]:
    """Return the tasks that changed after `since` with their annotations; all, without it.

    A task changes when it is made and whenever an annotation of it is made, edited or deleted.
    """
    return list(_changed(client, project_id, since=since, fields="all"))


def _changed(
    client: "LabelStudio", project_id: int, *, since: dt.datetime | None, fields: str
) -> Iterator[dict[str, Any]]:
    """Read the pages from the last to the first.

    Tasks are ordered by their last change, and a task that changes while we read moves to the end:
    what lies before it moves up, never back. Backwards, a page that was not read yet can so only
    get tasks that were read already; forwards, one would slip through at every page's edge. What
    moved behind the last page is newer than the mark and comes with the next pull.
    """
    first, total = _page(client, project_id, 1, since, fields)
    if total <= TASKS_A_REQUEST:
        yield from first
        return
    for number in range(-(-total // TASKS_A_REQUEST), 0, -1):
        yield from _page(client, project_id, number, since, fields)[0]


def _page(
    client: "LabelStudio", project_id: int, number: int, since: dt.datetime | None, fields: str
) -> tuple[list[dict[str, Any]], int]:
    """Return one page's tasks and how many there are on all; none past the last page."""
    from label_studio_sdk.core.api_error import ApiError

    newer = {
        "filter": "filter:tasks:updated_at",
        "operator": "greater",
        "type": "Datetime",
        "value": since.astimezone(dt.UTC).strftime(FILTER_TIME) if since else "",
    }
    filters = {"conjunction": "and", "items": [newer] if since else []}
    try:
        found = client.tasks.list(
            project=project_id,
            fields=fields,
            page=number,
            page_size=TASKS_A_REQUEST,
            query=json.dumps({"filters": filters, "ordering": ["tasks:updated_at"]}),
        )
    except ApiError as error:
        if error.status_code == 404 and number > 1:
            return [], 0  # tasks were deleted meanwhile
        raise
    response = found.response
    total = response.total if response is not None else 0
    return [task.dict() for task in found.items or ()], int(total or 0)
