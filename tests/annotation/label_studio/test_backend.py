"""Pushing and pulling against Label Studio's answers, good and bad."""

import datetime as dt
import re
import time
from collections.abc import Callable
from dataclasses import replace

import httpx
import pytest

from annotation.base import Answer, Pulled, Question, Study, Task
from annotation.errors import AnnotationError
from annotation.label_studio import client as clients
from annotation.label_studio import tasks as task_lists
from annotation.label_studio.access import Access
from annotation.label_studio.backend import LabelStudioBackend
from tests.annotation.label_studio.fake import FakeLabelStudio

TOKEN = "5ec2e70f5ec2e70f5ec2e70f5ec2e70f5ec2e70f"
QUESTION = Question(name="quality", text="Good?", min_value=1, max_value=3)
STUDY = Study(
    name="first",
    uid="3f0c",
    instructions="Look.",
    questions=(QUESTION,),
    raters={"ann": "Ann@example.org"},
)


def tasks(count: int, *, first: int = 0) -> list[Task]:
    return [
        Task(
            uid=f"task-{n}",
            rater="ann",
            position=n,
            pictures={"left": f"/{n}.png"},
            modality="OCT",
            text="drusen",
        )
        for n in reversed(range(first, first + count))
    ]


@pytest.fixture
def server() -> FakeLabelStudio:
    return FakeLabelStudio()


@pytest.fixture
def backend(server: FakeLabelStudio) -> LabelStudioBackend:
    access = Access(url="http://labels", token=TOKEN)
    return LabelStudioBackend(access, transport=server.transport())


def pull(backend: LabelStudioBackend, mark: dt.datetime | None = None) -> Pulled:
    marks = {} if mark is None else {next(iter(backend.pull(STUDY, {}))).place: mark}
    (pulled,) = backend.pull(STUDY, marks)
    return pulled


def said(pulled: Pulled) -> dict[str, int | str | None]:
    return {answer.task_uid: answer.value for answer in pulled.answers}


def test_tasks_go_in_the_raters_order_and_only_once(
    server: FakeLabelStudio, backend: LabelStudioBackend
) -> None:
    assert backend.push(STUDY, tasks(5)) == 5
    assert backend.push(STUDY, tasks(7)) == 2
    assert [task["data"]["uid"] for task in server.tasks.values()] == [
        f"task-{n}" for n in range(7)
    ]
    (project,) = server.projects.values()
    assert project["sampling"] == "Sequential sampling"
    assert re.fullmatch(r"OCT: 5 images \([0-9a-f]{12}\)", project["title"])


def test_a_project_of_an_earlier_versions_title_is_found_again(
    server: FakeLabelStudio, backend: LabelStudioBackend
) -> None:
    assert backend.push(STUDY, tasks(5)) == 5
    (project,) = server.projects.values()
    project["title"] = re.sub(r".*\((.*)\)", r"Reading \1", project["title"])
    assert backend.push(STUDY, tasks(7)) == 2
    assert len(server.projects) == 1


def test_a_push_that_broke_off_is_completed(
    server: FakeLabelStudio, backend: LabelStudioBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_lists, "TASKS_A_REQUEST", 2)
    imports = iter([None, httpx.Response(400, json={})])
    server.fault = lambda request: next(imports, None) if "import" in request.url.path else None
    with pytest.raises(AnnotationError, match="status 400"):
        backend.push(STUDY, tasks(6))
    assert len(server.tasks) == 2
    assert backend.push(STUDY, tasks(6)) == 4


def test_only_what_changed_is_read_again(
    server: FakeLabelStudio, backend: LabelStudioBackend
) -> None:
    backend.push(STUDY, tasks(20))
    server.tick()
    first = pull(backend)
    assert len(first.answers) == 20
    answer = server.annotate("task-3", {"quality": "3"})
    second = pull(backend, first.mark)
    assert said(second) == {"task-3": 3}
    server.tick()
    server.edit("task-3", answer, {"quality": "1"})
    server.tick()
    server.delete("task-4")
    assert said(pull(backend, second.mark)) == {"task-3": 1, "task-4": None}


def test_what_changed_just_now_is_read_once_more(
    server: FakeLabelStudio, backend: LabelStudioBackend
) -> None:
    """Its neighbours in time may still be inside their transactions."""
    backend.push(STUDY, tasks(2))
    first = pull(backend)
    assert len(pull(backend, first.mark).answers) == 2


def test_a_task_that_changes_between_two_pages_lets_no_other_slip_through(
    server: FakeLabelStudio, backend: LabelStudioBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forwards, each change of a task already read would push an unread one behind the reader."""
    monkeypatch.setattr(task_lists, "TASKS_A_REQUEST", 3)
    backend.push(STUDY, tasks(12))
    for n in range(12):
        server.tick(1)
        server.annotate(f"task-{n}", {"quality": "2"})
    waiting = [f"task-{n}" for n in range(6)]

    def change_one(page: int) -> None:
        server.tick(1)
        if waiting:
            server.annotate(waiting.pop(0), {"quality": "3"})

    server.after_page = change_one
    first = pull(backend)
    server.after_page = lambda page: None
    later = pull(backend, first.mark)
    assert set(said(first)) | set(said(later)) == {f"task-{n}" for n in range(12)}
    assert all(said(later)[f"task-{n}"] == 3 for n in range(4))


def test_a_clock_that_was_set_back_hides_no_change(
    server: FakeLabelStudio, backend: LabelStudioBackend
) -> None:
    backend.push(STUDY, tasks(3))
    server.tick()
    server.annotate("task-0", {"quality": "3"})
    first = pull(backend)
    server.tick(-3600)
    server.annotate("task-1", {"quality": "1"})
    second = pull(backend, first.mark)
    assert said(second)["task-1"] == 1
    assert "clock" in second.warnings[0]
    assert second.mark is not None and second.mark <= server.now
    server.tick(5)
    server.annotate("task-2", {"quality": "2"})
    assert said(pull(backend, second.mark))["task-2"] == 2


def test_an_answer_keeps_to_our_own_name_when_a_tasks_number_is_given_again(
    server: FakeLabelStudio, backend: LabelStudioBackend
) -> None:
    backend.push(STUDY, tasks(2))
    server.annotate("task-1", {"quality": "3"})
    first = pull(backend)
    number = server.task_of("task-1")["id"]
    del server.tasks[number]
    server.tick()
    backend.push(STUDY, tasks(1, first=2))
    assert server.task_of("task-2")["id"] == number
    server.annotate("task-2", {"quality": "1"})
    answers = {answer.task_uid: answer for answer in pull(backend, first.mark).answers}
    assert answers["task-2"].value == 1
    assert answers["task-2"].source_uid != of(first.answers, "task-1").source_uid


def of(answers: tuple[Answer, ...], uid: str) -> Answer:
    return next(answer for answer in answers if answer.task_uid == uid)


def test_a_rater_without_an_account_and_a_missing_project_are_told(
    server: FakeLabelStudio, backend: LabelStudioBackend
) -> None:
    assert "push the campaign again" in pull(backend).warnings[0]
    stranger = replace(STUDY, raters={"ben": "ben@example.org"})
    backend.push(stranger, [replace(task, rater="ben") for task in tasks(1)])
    (pulled,) = backend.pull(stranger, {})
    assert "no account" in pulled.warnings[0]


def down(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


def slow(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("60 s", request=request)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (down, "cannot be reached .ConnectError.*curate rate serve"),
        (slow, "cannot be reached .ReadTimeout"),
        (lambda request: httpx.Response(401, json={"detail": TOKEN}), "refuses the token"),
        (lambda request: httpx.Response(403, json={}), "refuses the token"),
        (lambda request: httpx.Response(500, text=f"<h1>{TOKEN}</h1>"), "answered with status 500"),
        (lambda request: httpx.Response(200, text='{"tasks": [{"id": 1, "da'), "status 200|read"),
        (lambda request: httpx.Response(200, text=""), "status 200|read"),
        (lambda request: httpx.Response(200, json=[1, 2]), "cannot be read"),
    ],
)
def test_what_can_go_wrong_is_said_in_one_line_without_the_token(
    server: FakeLabelStudio,
    backend: LabelStudioBackend,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[httpx.Request], httpx.Response],
    message: str,
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the SDK waits before it tries again
    backend.push(STUDY, tasks(2))
    server.fault = lambda request: fault(request) if "tasks" in request.url.path else None
    with pytest.raises(AnnotationError, match=message) as caught:
        list(backend.pull(STUDY, {}))
    assert TOKEN not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__  # a traceback shows no answer of the server either


def test_a_short_trouble_is_tried_again(
    server: FakeLabelStudio, backend: LabelStudioBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    backend.push(STUDY, tasks(2))
    troubles = iter([httpx.Response(503), httpx.Response(429)])
    server.fault = lambda request: next(troubles, None)
    assert len(pull(backend).answers) == 2


def test_neither_access_nor_client_shows_a_token() -> None:
    access = Access(url="http://labels", token=TOKEN, rooms={"ann": TOKEN}, admin_password=TOKEN)
    assert TOKEN not in repr(access)
    assert TOKEN not in repr(clients.connect(access.url, access.token))
