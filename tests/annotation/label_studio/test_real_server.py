"""From push to rows with a real Label Studio, raters answering as their browsers would."""

import sqlite3
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlmodel import select

from annotation.base import SKIPPED, Task
from annotation.errors import AnnotationError
from annotation.label_studio import backend as backends
from annotation.label_studio.backend import LabelStudioBackend
from annotation.label_studio.server import refuse_busy_port
from annotation.label_studio.tasks import changed_tasks
from curate.rating.answers import Taken
from curate.rating.config import PushOptions
from curate.rating.label_studio import label_studio_backend
from curate.rating.people import deactivate, invite
from curate.rating.pull import pull_campaign
from curate.rating.send import Pushed, push, study_of
from curate.rating.server import webhook_receiver
from curate.workspace import Workspace
from db import queries
from db.models import Campaign, Comparison, Rating
from db.queries.campaigns import AssignmentView
from tests.annotation.label_studio.conftest import Served
from tests.annotation.label_studio.rater import QUALITY, Rater
from tests.curate.pictures import add_pictures

pytestmark = pytest.mark.slow


def pushed(
    ws: Workspace, name: str, *, images_from: str = "local", **options: Any
) -> tuple[Campaign, Pushed]:
    plan = PushOptions(
        name=name,
        origin="real",
        max_images=4,
        control_fraction=0,
        repeat_fraction=0,
        rubric=QUALITY,
        **options,
    )
    done = push(ws, plan, images_from=images_from)
    ws.session.commit()
    campaign = queries.campaigns.find_campaign(ws.session, name)
    assert campaign is not None
    return campaign, done


def pull(ws: Workspace, campaign: Campaign, *, everything: bool = False) -> Taken:
    return pull_campaign(ws, campaign, label_studio_backend(ws), everything=everything).taken


def project_of(done: Pushed, rater: str) -> int:
    return int(done.pages[rater].split("/projects/")[1].split("/")[0])


def in_order(ws: Workspace, campaign: Campaign, rater: str) -> list[AssignmentView]:
    views = queries.campaigns.assignments(ws.session, campaign.id)
    return sorted((v for v in views if v.rater == rater), key=lambda view: view.position)


def rows(ws: Workspace, campaign: Campaign) -> list[tuple[str, int, int | str | None, int]]:
    """Return (rater, position, value, revision) of every row there is."""
    views = {view.id: view for view in queries.campaigns.assignments(ws.session, campaign.id)}
    found: list[tuple[str, int, int | str | None, int]] = []
    tables: tuple[Any, ...] = (Rating, Comparison)
    for table in tables:
        for row in ws.session.exec(select(table)):
            if row.assignment_id in views:
                view = views[row.assignment_id]
                value = row.preferred if isinstance(row, Comparison) else row.value
                found.append((view.rater, view.position, value, row.revision))
    return sorted(found, key=str)


def rate_all(rater: Rater, project: int, values: list[str]) -> list[dict[str, Any]]:
    """Answer what the stream gives; return the annotations."""
    said = []
    for value in values:
        task = rater.next_task(project)
        assert task is not None
        said.append(rater.rate(task, quality=value))
    assert rater.next_task(project) is None
    return said


def test_what_two_raters_say_edit_delete_and_skip_becomes_just_those_rows(
    ws: Workspace, served: Served
) -> None:
    two_raters_say_edit_delete_and_skip(ws, served.raters["ann"], served.raters["ben"], "local")


def two_raters_say_edit_delete_and_skip(
    ws: Workspace, one: Rater, other: Rater, images_from: str, *, is_watched: bool = False
) -> None:
    """Let both rate, change their minds, and compare every row with what they meant.

    `is_watched`: somebody else pulls too, and may have taken the news before us.
    """
    first, second = (rater.email.split("@")[0] for rater in (one, other))
    campaign, done = pushed(ws, "two raters", images_from=images_from, raters=(first, second))
    assert one.log_in() and other.log_in()
    said = rate_all(one, project_of(done, first), ["3", "2", "1", "3"])
    skipped = other.next_task(project_of(done, second))
    assert skipped is not None
    other.skip(skipped)
    taken = pull(ws, campaign)
    assert is_watched or taken == Taken(new=5, unchanged=3)  # three wait for an answer
    one.edit(said[1], quality="1")
    one.delete(said[2])
    taken = pull(ws, campaign)
    assert is_watched or taken.revised == 2
    assert pull(ws, campaign, everything=True) == Taken(unchanged=pull_size(ws, campaign))
    assert rows(ws, campaign) == sorted(
        [
            (first, 0, 3, 1),
            (first, 1, 1, 2),
            (first, 1, 2, 1),
            (first, 2, 1, 1),
            (first, 2, None, 2),
            (first, 3, 3, 1),
            (second, 0, None, 1),
        ],
        key=str,
    )
    passed_over = {
        r.assignment_id for r in ws.session.exec(select(Rating)) if r.reasons == [SKIPPED]
    }
    assigned = {view.id for view in queries.campaigns.assignments(ws.session, campaign.id)}
    assert passed_over & assigned == {in_order(ws, campaign, second)[0].id}


def pull_size(ws: Workspace, campaign: Campaign) -> int:
    return len(queries.campaigns.assignments(ws.session, campaign.id))


def test_raters_see_the_images_in_their_own_order_and_nothing_that_tells(
    ws: Workspace, served: Served
) -> None:
    campaign, done = pushed(ws, "order")
    ann = served.raters["ann"]
    assert ann.log_in()
    project = project_of(done, "ann")
    for view in in_order(ws, campaign, "ann"):
        task = ann.next_task(project)
        assert task is not None
        assert task["data"]["uid"] == str(view.id)
        assert set(task["data"]) == {"uid", "image", "asked"}
        assert task["predictions"] == []
        picture = ann.client.get(task["data"]["image"])
        assert picture.headers["content-type"] == "image/png"
        ann.rate(task, quality="2")


def test_pairs_are_compared(ws: Workspace, served: Served) -> None:
    campaign, done = pushed(ws, "pairs", pairs=True, overlap=1, raters=("ann",))
    ann = served.raters["ann"]
    assert ann.log_in()
    task = ann.next_task(project_of(done, "ann"))
    assert task is not None
    assert {"image", "other"} < set(task["data"])
    for image in ("image", "other"):
        assert ann.client.get(task["data"][image]).status_code == 200
    ann.rate(task, quality="left")
    assert pull(ws, campaign).new == 1
    assert rows(ws, campaign) == [("ann", 0, "left", 1)]


def test_a_rater_does_not_come_across_another_raters_project_or_account(
    ws: Workspace, served: Served
) -> None:
    """What an organisation of their own hides; what it does not is said in docs/rating.md."""
    campaign, done = pushed(ws, "apart")
    ann, ben = served.raters["ann"], served.raters["ben"]
    assert ann.log_in() and ben.log_in()
    task = ben.next_task(project_of(done, "ben"))
    assert task is not None
    ben.rate(task, quality="1")
    other = project_of(done, "ben")
    assert other not in [project["id"] for project in ann.projects()]
    for path in (
        f"/api/projects/{other}/",
        f"/api/projects/{other}/export?exportType=JSON",
        f"/api/tasks/{task['id']}/",
        f"/api/tasks/{task['id']}/annotations/",
    ):
        assert ann.client.get(path).status_code in (403, 404), path
    emails = {user["email"] for user in ann.client.get("/api/users/").json()}
    assert "ben@example.org" not in emails
    assert pull(ws, campaign).new == 1


def test_secrets_are_in_their_file_only(ws: Workspace, served: Served) -> None:
    access = served.access
    secrets = [access.token, access.admin_password, access.webhook_secret, *access.rooms.values()]
    secrets += [rater.password for rater in served.raters.values()]
    assert all(len(secret) >= 20 for secret in secrets)
    path = served.server_folder / "access.json"
    assert path.stat().st_mode & 0o777 == 0o600
    texts = {
        "server's log": (served.server_folder / "server.log").read_text(errors="replace"),
        "database": "\n".join(sqlite3.connect(served.folder / "curate.db").iterdump()),
        "processes": "\n".join(
            process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            for process in readable(Path("/proc").glob("[0-9]*/cmdline"))
        ),
    }
    for where, text in texts.items():
        assert not [secret[:4] for secret in secrets if secret in text], where


def readable(paths: Any) -> list[Path]:
    return [path for path in paths if path.exists()]


def test_images_need_a_login_and_stay_inside_their_folder(
    ws: Workspace, served: Served, anonymous: httpx.Client
) -> None:
    campaign, done = pushed(ws, "fenced")
    ann = served.raters["ann"]
    assert ann.log_in()
    task = ann.next_task(project_of(done, "ann"))
    assert task is not None
    assert anonymous.get(task["data"]["image"]).status_code == 401
    for place in ("../access.json", "images/../../access.json", "/etc/passwd", ".", ""):
        answer = ann.client.get("/data/local-files/", params={"d": place})
        assert answer.status_code != 200, place


def test_a_server_that_is_restarted_between_two_places_loses_and_doubles_nothing(
    ws: Workspace, served: Served
) -> None:
    campaign, done = pushed(ws, "restarted")
    for name in ("ann", "ben"):
        rater = served.raters[name]
        assert rater.log_in()
        rate_all(rater, project_of(done, name), ["1", "2", "3", "1"])

    class GoesDown(LabelStudioBackend):
        def _client(self, rater: str) -> Any:
            if rater == "ben":
                served.server.stop()
            return super()._client(rater)

    with pytest.raises(AnnotationError, match="curate rate serve"):
        pull_campaign(ws, campaign, GoesDown(served.access))
    ws.session.rollback()
    assert {row[0] for row in rows(ws, campaign)} == {"ann"}  # kept with its mark
    served.restart()
    assert pull(ws, campaign).new == 4
    assert pull(ws, campaign, everything=True) == Taken(unchanged=8)
    assert len(rows(ws, campaign)) == 8


def test_a_hint_of_the_server_wakes_the_pull(ws: Workspace, served: Served) -> None:
    campaign, done = pushed(ws, "hinted")
    woken = threading.Event()
    with webhook_receiver(served.access.webhook_secret, woken) as url:
        label_studio_backend(ws).send_hints(study_of(ws, campaign), url)
        ann = served.raters["ann"]
        assert ann.log_in()
        task = ann.next_task(project_of(done, "ann"))
        assert task is not None
        ann.rate(task, quality="3")
        assert woken.wait(5)
        for secret in ({}, {"X-Curate-Secret": "guess"}):
            answer = httpx.post(f"{url}/label-studio-webhook", headers=secret, trust_env=False)
            assert answer.status_code == 403
    assert pull(ws, campaign).new == 1


def counted(tasks: list[dict[str, Any]], read: list[int]) -> list[dict[str, Any]]:
    read.append(len(tasks))
    return tasks


@pytest.mark.apart
def test_of_5000_tasks_only_the_ten_that_changed_are_read(
    ws: Workspace, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "SETTLED_S", -60)  # no waiting; the header has whole seconds
    add_pictures(ws, 4, first_seed=6000)
    campaign, done = pushed(ws, "many", overlap=1, raters=("ann",))
    study, backend = study_of(ws, campaign), label_studio_backend(ws)
    filler = [
        Task(
            uid=f"filler-{n}",
            rater="ann",
            position=n,
            pictures={"left": "/x.png"},
            modality="OCT",
            text="x",
        )
        for n in range(4996)
    ]
    assert backend.push(study, filler) == 4996
    pull(ws, campaign)
    ann = served.raters["ann"]
    assert ann.log_in()
    project = project_of(done, "ann")
    for _ in range(10):
        task = ann.next_task(project)
        assert task is not None
        ann.rate(task, quality="2")
    read: list[int] = []
    monkeypatch.setattr(
        backends, "changed_tasks", lambda *args: counted(changed_tasks(*args), read)
    )
    taken = pull(ws, campaign)
    assert sum(read) <= 20  # the ten, and what was read before within the overlap
    assert (taken.new, taken.quarantined) == (4, 6)  # a filler is no assignment of ours


def test_an_answer_waits_for_a_database_that_somebody_else_is_writing(
    ws: Workspace, served: Served
) -> None:
    """Longer than SQLite waits by itself: raters at once would be told status 500."""
    add_pictures(ws, 4, first_seed=7000)
    _, done = pushed(ws, "locked", overlap=1, raters=("ann",))
    ann = served.raters["ann"]
    assert ann.log_in()
    task = ann.next_task(project_of(done, "ann"))
    assert task is not None
    database = served.server_folder / "data" / "label_studio.sqlite3"
    writer = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    writer.execute("BEGIN IMMEDIATE")
    events: list[str] = []

    def let_go() -> None:
        events.append("let go")
        writer.execute("ROLLBACK")

    release = threading.Timer(6, let_go)
    release.start()
    ann.rate(task, quality="3")
    events.append("answered")
    release.join()
    writer.close()
    assert events == ["let go", "answered"]


def test_a_busy_port_is_refused_not_moved_away_from(served: Served) -> None:
    with pytest.raises(AnnotationError, match=f"{served.server.config.port}.*another --port"):
        refuse_busy_port(served.server.config)


def test_a_deactivated_rater_cannot_log_in_and_an_invitation_lets_in_again(
    ws: Workspace, served: Served
) -> None:
    ben = served.raters["ben"]
    assert ben.log_in()
    deactivate(ws, "ben", say=lambda line: None)
    assert ben.client.get("/api/current-user/whoami").status_code == 401
    assert not Rater(served.url, ben.email, ben.password).log_in()
    _, again = invite(ws, ben.email, name=None, expert_level=3, say=lambda line: None)
    assert again.password != ben.password
    served.raters["ben"] = Rater(served.url, ben.email, again.password)
    assert served.raters["ben"].log_in()
