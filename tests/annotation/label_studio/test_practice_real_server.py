"""Practice and the blind part after it, with a real Label Studio behind the door."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from annotation.label_studio.gateway import gateway_app
from annotation.label_studio.server import free_port
from curate.rating.config import PracticeOptions, PushOptions
from curate.rating.label_studio import label_studio_backend
from curate.rating.people import invite
from curate.rating.practice import make_practice
from curate.rating.practice_page.door import PracticeDoor
from curate.rating.practised import image_asked
from curate.rating.send import push, send_to_who_passed
from curate.web.wsgi import listen
from curate.web.wsgi import served as answering
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from db.models import Practice
from tests.annotation.label_studio.conftest import Served
from tests.annotation.label_studio.rater import QUALITY, Rater
from tests.annotation.label_studio.serving import serving
from tests.annotation.label_studio.test_real_server import project_of, pull, rows
from tests.curate.pictures import add_pictures
from tests.curate.rating.practising import known_table

pytestmark = pytest.mark.slow


SENT_S = 120  # on a busy machine


@pytest.fixture
def practice(ws: Workspace, tmp_path: Path) -> Practice:
    return practice_of(ws, tmp_path)


def practice_of(ws: Workspace, tmp_path: Path) -> Practice:
    images = queries.images.images_to_rate(ws.session, origin="real")[:8]
    said = [{"image_id": one.id, "criterion:quality": 1 + n % 3} for n, one in enumerate(images)]
    options = PracticeOptions(known=known_table(tmp_path / "known.csv", said), rubric=QUALITY)
    return make_practice(ws, "before", options)


@pytest.fixture
def door(ws: Workspace, served: Served) -> Iterator[str]:
    listener = listen("127.0.0.1", 0, "The rating page")
    app = gateway_app(served.url, ours=PracticeDoor(ws, lambda: None))
    with answering(app, listener, threads=8, max_header=32_768, max_body=1_048_576):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_who_passes_at_the_door_gets_a_project_and_nobody_else(
    ws: Workspace, served: Served, practice: Practice, door: str
) -> None:
    options = PushOptions(
        name="after practice",
        origin="real",
        max_images=3,
        overlap=2,
        raters=("ann", "ben"),
        control_fraction=0,
        repeat_fraction=0,
        rubric=QUALITY,
        practice="before",
    )
    done = push(ws, options)
    ws.session.commit()
    assert (done.num_new, done.pages, set(done.practice)) == (0, {}, {"ann", "ben"})
    ann, ben = (at_the_door(served.raters[name], door) for name in ("ann", "ben"))
    place = f"/practice/{practice.id}"
    assert ann.client.get(place).url.path == "/user/login/"
    assert ann.log_in() and ben.log_in()
    images = queries.practices.images_of(ws.session, practice.id)
    for number in range(8):
        page = ann.client.get(f"{place}/{number}")
        assert page.status_code == 200 and "Known" not in page.text
        one = image_asked(practice, images, "ann", number)
        right = {"quality": one.item.known["quality"][0]}
        told = ann.client.post(f"{place}/{number}", data=right, headers={"Origin": door})
        assert "✓ right" in told.text
    assert "8 of 8 right, 7 needed. Passed" in told.text
    assert place not in ann.client.get("/").text and place in ben.client.get("/").text
    campaign = queries.campaigns.find_campaign(ws.session, "after practice")
    assert campaign is not None
    ws.session.rollback()
    assert send_to_who_passed(ws, campaign, label_studio_backend(ws), set()) == 3
    again = push(ws, options)  # the same command tells where each of them is
    assert again.num_new == 0 and set(again.pages) == {"ann"} and set(again.practice) == {"ben"}
    project = project_of(again, "ann")
    assert f"/projects/{project}/data" in ann.client.get("/").text
    task = ann.next_task(project)
    assert task is not None and set(task["data"]) == {"uid", "image", "asked"}
    ann.rate(task, quality="2")
    assert pull(ws, campaign).new == 1
    assert rows(ws, campaign) == [("ann", 0, 2, 1)]


def at_the_door(known: Rater, door: str) -> Rater:
    return Rater(door, known.email, known.password)


@pytest.mark.apart
def test_while_it_is_served_the_blind_part_comes_by_itself(
    migrated_data: Path, tmp_path: Path
) -> None:
    folder, port = tmp_path / "study", free_port()
    init_workspace(folder)
    shutil.copytree(migrated_data, folder / "label-studio")
    door = f"http://127.0.0.1:{port}"
    with serving(folder, ["--port", str(port)], {}) as up, open_workspace(folder) as ws:
        add_pictures(ws, 14, sides=(64,))
        person, invitation = invite(
            ws, "ann@example.org", name="ann", expert_level=3, say=lambda line: None
        )
        practice = practice_of(ws, tmp_path)
        options = PushOptions(
            name="served",
            origin="real",
            overlap=1,
            control_fraction=0,
            repeat_fraction=0,
            rubric=QUALITY,
            practice=practice.name,
        )
        assert push(ws, options).practice == {person.name: f"{door}/practice/{practice.id}"}
        ws.session.commit()
        ann = Rater(door, invitation.email, invitation.password)
        assert ann.log_in()
        images = queries.practices.images_of(ws.session, practice.id)
        ws.session.rollback()
        for number in range(8):
            one = image_asked(practice, images, "ann", number)
            right = {"quality": one.item.known["quality"][0]}
            address = f"/practice/{practice.id}/{number}"
            assert ann.client.get(f"{address}/left.png").status_code == 200
            assert ann.client.post(address, data=right, headers={"Origin": door}).is_success
        deadline = time.monotonic() + SENT_S
        while "served: 6 tasks for raters who have passed" not in up.said():
            assert time.monotonic() < deadline, up.said()
            time.sleep(0.1)
        page = ann.client.get("/").text
        assert "/projects/" in page and "/practice/" not in page
