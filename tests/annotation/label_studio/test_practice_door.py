"""The practice page at the door, with a Label Studio behind it that only says who asks."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from annotation.label_studio.access import Access
from annotation.label_studio.backend import LabelStudioBackend
from annotation.label_studio.gateway import gateway_app
from curate.errors import CurateError
from curate.rating.config import PracticeOptions, PushOptions
from curate.rating.practice import make_practice
from curate.rating.practice_page.door import PracticeDoor
from curate.rating.practised import image_asked, standings
from curate.rating.pull import pull_campaign
from curate.rating.send import _require_door, send_campaign, send_to_who_passed, study_of
from curate.site.accounts import studies_in_the_way
from curate.web.wsgi import listen, served
from curate.workspace import Workspace
from db import queries
from db.models import Image, Practice
from tests.annotation.label_studio.fake import FakeLabelStudio
from tests.annotation.label_studio.volumes import add_edits, add_volumes
from tests.curate.rating.practising import (
    add_people,
    add_practice,
    campaign_after,
    known_table,
    right_answer,
    said_by_an_expert,
    wrong_answer,
)

PEOPLE = ("ann", "ben", "eve")  # eve has a login, is a rater, and is asked nothing


def behind(request: httpx.Request) -> httpx.Response:
    """Know who is logged in, and nothing else."""
    found = re.search("sessionid=([a-z]+)", request.headers.get("Cookie", ""))
    if found is None or found[1] not in PEOPLE:
        return httpx.Response(401)
    if request.url.path == "/api/current-user/whoami":
        return httpx.Response(200, json={"id": 1, "email": f"{found[1].title()}@Example.org"})
    return httpx.Response(200, json={"results": []})


@pytest.fixture
def practice(workspace: Workspace) -> Practice:
    made, others = add_practice(workspace)
    campaign_after(workspace, made, others[:6])
    workspace.session.commit()
    return made


class Told:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


@pytest.fixture
def passed() -> Told:
    return Told()


@pytest.fixture
def door(workspace: Workspace, practice: Practice, passed: Told) -> Iterator[str]:
    listener = listen("127.0.0.1", 0, "The rating page")
    app = gateway_app(
        "http://inside",
        transport=httpx.MockTransport(behind),
        ours=PracticeDoor(workspace, passed),
    )
    with served(app, listener, threads=4, max_body=1_048_576):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def browser(door: str, name: str = "") -> httpx.Client:
    cookies = {"sessionid": name} if name else {}
    return httpx.Client(
        base_url=door, cookies=cookies, trust_env=False, headers={"Origin": door}, timeout=30
    )


def send(
    client: httpx.Client, practice: Practice, number: int, said: dict[str, int]
) -> httpx.Response:
    return client.post(f"/practice/{practice.id}/{number}", data=said)


def test_what_is_known_is_told_after_the_answer_and_not_before(
    workspace: Workspace, practice: Practice, door: str
) -> None:
    images = queries.practices.images_of(workspace.session, practice.id)
    with browser(door, "ann") as ann:
        begun = ann.get(f"/practice/{practice.id}")
        assert (begun.status_code, begun.headers["Location"]) == (303, f"/practice/{practice.id}/0")
        for number in range(3):
            one = image_asked(practice, images, "ann", number)
            before = ann.get(f"/practice/{practice.id}/{number}")
            assert before.status_code == 200 and "required" in before.text
            told = ("Known", "right</", "since", one.item.why, "real", str(one.item.id), "score")
            shown = before.text.replace("Does it look real", "").replace("looks-real", "")
            shown = shown.replace("Looks real", "")
            assert [word for word in told if word in shown] == []
            assert str(one.image.id) not in shown and one.image.file_sha256 not in shown
            picture = ann.get(f"/practice/{practice.id}/{number}/left.png")
            assert picture.headers["Content-Type"] == "image/png"
            assert picture.content[:4] == b"\x89PNG" and b"tEXt" not in picture.content
            sent = send(ann, practice, number, wrong_answer(one))
            assert (sent.status_code, sent.headers["Location"]) == (303, before.url.path)
            after = ann.get(f"/practice/{practice.id}/{number}").text
            assert "✗ not what is known" in after and "Known" in after
            assert "since &lt;it&gt; is number" in after  # a table's words are words
            assert (
                ann.get(f"/practice/{practice.id}/{number + 2}")
                .headers["Location"]
                .endswith(f"/{number + 1}")
            )
        answers = queries.practices.answers_of(workspace.session, practice.id)
        assert [said.number for said in answers] == [0, 1, 2]
        assert ann.get(f"/practice/{practice.id}/3/right.png").status_code == 404
        assert ann.get(f"/practice/{practice.id}/2/left.png").status_code == 200
        page = ann.get("/").text
    assert f'<a href="/practice/{practice.id}">Practice</a> <span>3 of 10 in pass 1</span>' in page


def test_an_answer_sent_again_or_without_an_answer_changes_nothing(
    workspace: Workspace, practice: Practice, door: str
) -> None:
    one = image_asked(
        practice, queries.practices.images_of(workspace.session, practice.id), "ann", 0
    )
    with browser(door, "ann") as ann:
        assert send(ann, practice, 0, {"looks-real": 1}).status_code == 303  # one is left out
        assert send(ann, practice, 0, {"looks-real": 9, "shows-asked": 1}).status_code == 400
        assert queries.practices.answers_of(workspace.session, practice.id) == []
        for said in (wrong_answer(one), right_answer(one), wrong_answer(one)):
            assert send(ann, practice, 0, said).status_code == 303
    [kept] = queries.practices.answers_of(workspace.session, practice.id)
    assert kept.verdicts == wrong_answer(one)


def test_nobody_reaches_a_practice_who_is_not_asked_or_comes_from_elsewhere(
    workspace: Workspace, practice: Practice, door: str
) -> None:
    add_people(workspace, "eve")
    workspace.session.commit()
    place = f"/practice/{practice.id}"
    with browser(door) as nobody:
        answer = nobody.get(place)
        assert answer.headers["Location"] == f"/user/login/?next={place}"
        assert nobody.post(f"{place}/0", data={"looks-real": 1}).status_code == 302
    with browser(door, "eve") as eve:
        assert eve.get(place).status_code == eve.get(f"{place}/0/left.png").status_code == 404
        assert eve.post(f"{place}/0", data={"looks-real": 1}).status_code == 404
        assert "Practice" not in eve.get("/").text
    with browser(door, "ann") as ann:
        for origin in ("http://evil.example", "null"):
            sent = ann.post(f"{place}/0", data={"looks-real": 1}, headers={"Origin": origin})
            assert sent.status_code == 403
        del ann.headers["Origin"]
        assert ann.post(f"{place}/0", data={"looks-real": 1}).status_code == 403
        for path in ("x", "x/0", f"{practice.id}/-1", "..%2Fpractice_page%2Fdoor.py", "door.py"):
            assert ann.get(f"/practice/{path}").status_code == 404
        assert ann.delete(f"{place}/0").status_code in (403, 404)
        page = ann.get(f"{place}/0")
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert re.findall(r"<script(?! src=)|style=| on[a-z]+=", page.text) == []
        assert page.headers["Cache-Control"] == "no-store"
        for name in ("page.css", "page.js"):
            assert ann.get(f"/practice/{name}").status_code == 200
    assert queries.practices.answers_of(workspace.session, practice.id) == []


def test_the_blind_part_is_sent_to_who_has_passed_and_to_nobody_else(
    workspace: Workspace, practice: Practice, door: str, passed: Told
) -> None:
    fake = FakeLabelStudio()
    fake.users |= {2: "ann@example.org", 3: "ben@example.org"}
    access = Access(url="http://labels", token="t", managed=True)
    backend = LabelStudioBackend(access, transport=fake.transport())
    campaign = queries.campaigns.find_campaign(workspace.session, "first")
    assert campaign is not None
    place = "https://images.example.org"
    first = send_campaign(workspace, campaign, backend, images_from=place)
    workspace.session.commit()
    page = f"http://labels/practice/{practice.id}"
    assert (first.num_new, first.pages, fake.projects) == (0, {}, {})
    assert first.practice == {"ann": page, "ben": page}
    assert f"  ann practises first, at {page}" in first.lines()
    assert pull_campaign(workspace, campaign, backend).warnings == ()
    images = queries.practices.images_of(workspace.session, practice.id)
    with browser(door, "ann") as ann:
        for number in range(10):
            assert passed.times == 0
            one = image_asked(practice, images, "ann", number)
            send(ann, practice, number, wrong_answer(one) if number < 2 else right_answer(one))
        ended = ann.get(f"/practice/{practice.id}/9").text
        assert "Pass 1: 8 of 10 right, 8 needed. Passed" in ended and 'href="/"' in ended
        over = ann.get(f"/practice/{practice.id}/10").text
        assert "You had 8 of 10 right" in over and "<form" not in over
        assert ann.get(f"/practice/{practice.id}/10/left.png").status_code == 404
        send(ann, practice, 10, {"looks-real": 1, "shows-asked": 1})
        assert "Practice" not in ann.get("/").text
    assert passed.times >= 1
    assert len(queries.practices.answers_of(workspace.session, practice.id)) == 10
    workspace.session.rollback()
    sent: set[tuple[object, str]] = set()
    assert send_to_who_passed(workspace, campaign, backend, sent) == 6  # type: ignore[arg-type]
    assert send_to_who_passed(workspace, campaign, backend, sent) == 0  # type: ignore[arg-type]
    assert send_to_who_passed(workspace, campaign, backend, set()) == 0  # after a restart
    assert list(study_of(workspace, campaign).raters) == ["ann"]
    [project] = fake.projects.values()
    data = [task["data"] for task in fake.tasks.values()]
    assert len(data) == 6 and {frozenset(one) for one in data} == {
        frozenset(("uid", "image", "asked"))
    }
    shown = project["title"] + project["label_config"] + project["expert_instruction"] + str(data)
    for word in ("ractice", practice.name, str(practice.id), "passed"):
        assert word not in shown
    assert studies_in_the_way(workspace, "ben@example.org") == ["first"]
    assert [one.has_passed for one in standings(workspace, practice)] == [True, False]
    assert workspace.session.is_active


@pytest.mark.parametrize(
    ("add", "names", "captions"),
    [
        (add_volumes, [f"left{n}" for n in range(1, 10)], []),
        (add_edits, ["prior", "left"], ["prior", "to be rated"]),
    ],
)
def test_a_volume_is_seen_by_slices_and_an_edit_beside_its_prior(
    workspace: Workspace,
    add: Callable[[Workspace, int], list[Image]],
    names: list[str],
    captions: list[str],
) -> None:
    images = add(workspace, 12)
    table = known_table(workspace.folder / "known.csv", said_by_an_expert(images[:10]))
    practice = make_practice(workspace, "shapes", PracticeOptions(known=table))
    campaign_after(workspace, practice, images[10:])
    pages, first = PracticeDoor(workspace, Told()), f"/practice/{practice.id}/0"
    shown = pages.reply("ann@example.org", "GET", first, {}).body.decode()
    assert re.findall(r"/0/([a-z0-9]+)[.]png", shown) == names
    assert re.findall("<figcaption>(.*?)</figcaption>", shown) == captions
    pictures = [pages.reply("ann@example.org", "GET", f"{first}/{n}.png", {}) for n in names]
    assert {reply.status for reply in pictures} == {200}
    assert len({len(reply.body) for reply in pictures}) == 1  # uncompressed, of one size
    assert len({reply.body for reply in pictures}) > 1


def test_without_our_door_there_is_no_practice(workspace: Workspace, tmp_path: Path) -> None:
    elsewhere = LabelStudioBackend(Access(url="http://labels", token="t"))
    with pytest.raises(CurateError, match="Drop --practice, or use that server") as raised:
        _require_door(elsewhere)
    assert "\n" not in str(raised.value)
    assert PushOptions().practice is None
