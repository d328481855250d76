"""What a rater who calls by number reaches in the Community edition, and at curate's door.

The list is docs/rating.md's: it holds without the door, and nothing of it holds at the door.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from annotation.label_studio.gateway import gateway_app
from curate.rating.answers import Taken
from curate.rating.send import Pushed
from curate.web.wsgi import listen
from curate.web.wsgi import served as answering
from curate.workspace import Workspace
from db import queries
from tests.annotation.label_studio.conftest import Served
from tests.annotation.label_studio.rater import Rater
from tests.annotation.label_studio.test_real_server import (
    project_of,
    pull,
    pushed,
    rows,
)

pytestmark = pytest.mark.slow

RESULT = [
    {
        "from_name": "verdict-quality",
        "to_name": "image",
        "type": "choices",
        "value": {"choices": ["1"]},
    }
]
FILTERS = {"conjunction": "and", "items": []}
# in another rater's project, by number
READ = (
    "/api/tasks/?project={project}&fields=all",
    "/api/projects/{project}/next",
    "/api/projects/{project}/summary/",
    "/api/projects/{project}/annotators/",
    "/api/projects/{project}/label-stream-history/",
    "/api/dm/project/?project={project}",
    "/api/dm/columns/?project={project}",
    "/api/storages/?project={project}",
    "/api/annotations/{answer}/",
    "/api/tasks/{task}/drafts",
    "/api/drafts/{draft}/",
    "/projects/{project}/settings/",
    "{picture}",
)
WRITTEN: tuple[tuple[str, str, Any], ...] = (
    ("PATCH", "/api/annotations/{answer}/", {"result": RESULT}),
    ("POST", "/api/tasks/{other}/annotations/", {"result": RESULT, "completed_by": "{ben}"}),
    ("POST", "/api/predictions/", {"task": "{task}", "result": RESULT, "score": 0.5}),
    ("POST", "/api/annotations/{answer}/convert-to-draft", {}),
    ("PATCH", "/api/drafts/{draft}/", {"result": RESULT}),
    ("DELETE", "/api/drafts/{draft}/", None),
    (
        "POST",
        "/api/dm/actions/?id=delete_tasks_annotations&project={project}",
        {"selectedItems": {"all": False, "included": ["{other}"]}, "filters": FILTERS},
    ),
    (
        "POST",
        "/api/dm/actions/?id=delete_tasks&project={project}",
        {"selectedItems": {"all": False, "included": ["{last}"]}, "filters": FILTERS},
    ),
)
# around the rater's own project
OWN: tuple[tuple[str, str, Any], ...] = (
    ("GET", "/api/current-user/token", None),
    ("POST", "/api/token/", {}),
    ("GET", "/api/invite", None),
    ("GET", "/api/webhooks/", None),
    ("GET", "/api/projects/{own}/export?exportType=JSON", None),
    ("PATCH", "/api/projects/{own}/", {"description": "mine"}),
    ("POST", "/api/projects/{own}/import", [{"data": {"uid": "u", "image": "x", "asked": "y"}}]),
    ("POST", "/api/users/", {"email": "eve@example.org", "username": "eve"}),
)
# what asks for the organisation by itself
REFUSED = (
    "/api/projects/{project}/",
    "/api/projects/{project}/tasks/",
    "/api/projects/{project}/export?exportType=JSON",
    "/api/tasks/{task}/",
    "/api/tasks/{task}/annotations/",
    "/api/users/{ben}/",
    "/api/organizations/{room}",
)


@pytest.fixture(scope="module")
def door(served: Served) -> Iterator[str]:
    listener = listen("127.0.0.1", 0, "The rating page")
    with answering(
        gateway_app(served.url), listener, threads=8, max_header=32_768, max_body=1_048_576
    ):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def ann(served: Served, door: str) -> Rater:
    """Ann, who comes through the door."""
    known = served.raters["ann"]
    rater = Rater(door, known.email, known.password)
    assert rater.log_in()
    return rater


def ask(rater: Rater, names: dict[str, Any], method: str, path: str, body: Any) -> int:
    """Call with the numbers filled in; return the status."""
    text = json.dumps(body)
    for name, value in names.items():
        path = path.replace(f"{{{name}}}", str(value))
        text = text.replace(f'"{{{name}}}"', str(value))
    headers = {
        "X-CSRFToken": rater.client.cookies["csrftoken"],
        "Referer": str(rater.client.base_url),
    }
    content = None if body is None else json.loads(text)
    answer = rater.client.request(method, path, json=content, headers=headers)
    return 0 if answer.url.path == "/user/login/" else answer.status_code


def open_task(rater: Rater, done: Pushed) -> dict[str, Any]:
    task = rater.next_task(project_of(done, rater.email.split("@")[0]))
    assert task is not None
    return task


def test_what_a_rater_reaches_by_number_is_closed_at_the_door(
    ws: Workspace, served: Served, ann: Rater
) -> None:
    campaign, done = pushed(ws, "by number")
    ben, direct = served.raters["ben"], served.raters["ann"]
    assert ben.log_in() and direct.log_in()
    said = [ben.rate(open_task(ben, done), quality=value) for value in ("2", "3")]
    draft = ben._send("POST", f"/api/tasks/{said[0]['task']}/drafts", {"result": RESULT})
    me = ben.client.get("/api/current-user/whoami").json()
    task = ben.client.get(f"/api/tasks/{said[0]['task']}/").json()
    names = {
        "project": project_of(done, "ben"),
        "own": project_of(done, "ann"),
        "task": said[0]["task"],
        "other": said[1]["task"],
        "last": open_task(ben, done)["id"],
        "answer": said[0]["id"],
        "draft": draft["id"],
        "picture": task["data"]["image"],
        "ben": me["id"],
        "room": me["active_organization"],
    }
    assert pull(ws, campaign).new == 2
    before = rows(ws, campaign)
    everything = [*(("GET", path, None) for path in READ), *WRITTEN, *OWN]
    # the picture's name cannot be guessed, and nothing at the door tells ann another's
    at_the_door = [call for call in everything if call[1] != "{picture}"]
    passed = [call[:2] for call in at_the_door if ask(ann, names, *call) in range(200, 400)]
    # of a list the page gets an empty one; what ann has is not ben's
    assert passed == [("GET", READ[0])]
    assert ann.client.get(READ[0].format(**names)).json()["tasks"] == []
    pull(ws, campaign, everything=True)
    assert rows(ws, campaign) == before

    open_ones = [call[:2] for call in everything if ask(direct, names, *call) in range(200, 400)]
    assert open_ones == [call[:2] for call in everything]
    for path in REFUSED:
        assert ask(direct, names, "GET", path, None) in (403, 404), path
    taken = pull(ws, campaign, everything=True)
    assert taken.quarantined >= 1  # what ann wrote in ben's name is told apart by its writer
    values = {(position, value) for rater, position, value, _ in rows(ws, campaign)}
    assert (0, 1) not in values and (1, 1) not in values
    token = direct.client.get("/api/current-user/token").json()["token"]
    answer = ann.client.get("/api/users/", headers={"Authorization": f"Token {token}"})
    assert answer.status_code == 403


def test_a_rater_rates_edits_deletes_and_skips_at_the_door(
    ws: Workspace, served: Served, ann: Rater
) -> None:
    campaign, done = pushed(ws, "at the door", overlap=1, raters=("ann",))
    project = project_of(done, "ann")
    front = ann.client.get("/")
    assert f"/projects/{project}/data?labeling=1" in front.text
    first = open_task(ann, done)
    assert ann.client.get(first["data"]["image"]).headers["Content-Type"] == "image/png"
    said = ann.rate(first, quality="3")
    withdrawn = ann.rate(open_task(ann, done), quality="2")
    ann.skip(open_task(ann, done))
    assert pull(ws, campaign).new == 3
    ann.edit(said, quality="1")
    ann.delete(withdrawn)
    assert pull(ws, campaign).revised == 2
    assert rows(ws, campaign) == sorted(
        [
            ("ann", 0, 3, 1),
            ("ann", 0, 1, 2),
            ("ann", 1, 2, 1),
            ("ann", 1, None, 2),
            ("ann", 2, None, 1),
        ],
        key=str,
    )
    assert pull(ws, campaign, everything=True) == Taken(unchanged=4)
    assert len(queries.campaigns.assignments(ws.session, campaign.id)) == 4


def test_a_copy_of_the_session_is_dead_after_logout(ann: Rater, door: str) -> None:
    assert ann.log_in()
    copied = dict(ann.client.cookies)
    with httpx.Client(base_url=door, cookies=copied, trust_env=False) as thief:
        assert thief.get("/api/current-user/whoami").status_code == 200
        ann.client.get("/logout")
        assert thief.get("/api/current-user/whoami").status_code in (401, 403)
        assert thief.get("/").headers["Location"].startswith("/user/login/")
    assert ann.log_in()
