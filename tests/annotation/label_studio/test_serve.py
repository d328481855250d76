"""`curate rate serve`: with a Label Studio that runs already and with its own, as a process."""

import re
import shutil
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from annotation.config import ServerConfig
from annotation.errors import AnnotationError
from annotation.label_studio.access import TOKEN_VARIABLE, URL_VARIABLE, read_access
from annotation.label_studio.server import free_port
from curate.errors import CurateError
from curate.rating.config import PushOptions, ServeOptions
from curate.rating.people import invite
from curate.rating.send import push
from curate.rating.server import serve
from curate.web.wsgi import listen
from curate.web.wsgi import served as answering
from curate.workspace import init_workspace, open_workspace
from db import queries
from tests.annotation.label_studio.conftest import Served
from tests.annotation.label_studio.rater import QUALITY, ProxyWithTLS, Rater
from tests.annotation.label_studio.serving import serving
from tests.annotation.label_studio.test_real_server import project_of, pull, rate_all, rows
from tests.curate.pictures import add_pictures

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

pytestmark = [
    pytest.mark.slow,
    # the SDK, when it exchanges a personal token
    pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated"),
]


def tokens(served: Served) -> dict[str, str]:
    """Return curate's tokens of both kinds, the personal one made as its page makes it."""
    access = served.access
    admin = Rater(served.url, access.admin_email, access.admin_password)
    assert admin.log_in()
    return {"legacy": access.token, "personal": admin._send("POST", "/api/token/", {})["token"]}


@pytest.fixture(scope="module")
def known_tokens(served: Served) -> dict[str, str]:
    return tokens(served)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A workspace with four pictures and no Label Studio."""
    folder = tmp_path / "elsewhere"
    init_workspace(folder)
    with open_workspace(folder) as ws:
        add_pictures(ws, 4, sides=(64,))
    return folder


def signed_up(link: str, email: str) -> Rater:
    """Come by the server's own sign-up link, as a rater there would."""
    url, path = re.fullmatch(r"(https?://[^/]+)(/.*)", link).groups()  # type: ignore[union-attr]
    rater = Rater(url, email, "a password of theirs")
    page = rater.client.get(path).text
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert found is not None
    form = {"email": email, "password": rater.password, "csrfmiddlewaretoken": found[1]}
    answer = rater.client.post(path, data=form, headers={"Referer": link})
    assert answer.is_success and answer.url.path != "/user/signup/"
    return rater


@pytest.mark.apart
@pytest.mark.parametrize(
    ("kind", "way"), [("personal", "file"), ("legacy", "environment"), ("legacy", "url and token")]
)
def test_a_server_that_runs_already_takes_tokens_of_both_kinds(
    served: Served, known_tokens: dict[str, str], elsewhere: Path, kind: str, way: str
) -> None:
    token = known_tokens[kind]
    (elsewhere / "token.txt").write_text(f"{token}\n")
    arguments, variables = {
        "file": (["--url", served.url, "--token", "token.txt"], {}),
        "environment": ([], {URL_VARIABLE: served.url, TOKEN_VARIABLE: token}),
        "url and token": (["--url", f"{served.url}/"], {TOKEN_VARIABLE: token}),
    }[way]
    with serving(elsewhere, arguments, variables) as up:
        assert token not in up.command
    assert token not in up.said()
    if way == "url and token":
        return
    with open_workspace(elsewhere) as ws:
        email = f"{kind}@example.org"
        person, invitation = invite(ws, email, name=None, expert_level=3, say=print)
        rater = signed_up(invitation.url, email)
        plan = PushOptions(
            name=kind,
            origin="real",
            overlap=1,
            max_images=3,
            control_fraction=0,
            repeat_fraction=0,
            rubric=QUALITY,
        )
        done = push(ws, plan, images_from="https://images.example.org")
        project = project_of(done, person.name)
        rate_all(rater, project, ["1", "2", "3"])
        campaign = queries.campaigns.find_campaign(ws.session, kind)
        assert campaign is not None
        assert pull(ws, campaign).new == 3
        assert [row[2] for row in rows(ws, campaign)] == [1, 2, 3]
        ws.session.commit()
    kept = (elsewhere / "label-studio" / "access.json").stat()
    assert kept.st_mode & 0o077 == 0
    assert token.encode() not in (elsewhere / "curate.db").read_bytes()


def not_label_studio(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    start("200 OK", [("Content-Type", "text/html")])
    return [b"<h1>Something else</h1>"]


@pytest.fixture
def something_else() -> Iterator[str]:
    listener = listen("127.0.0.1", 0, "Something else")
    with answering(not_label_studio, listener, threads=1):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


WRONG = {
    "legacy": "0123456789abcdef0123456789abcdef01234567",
    # signed by somebody else, valid until 2100
    "personal": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
    "eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6NDEwMjQ0NDgwMCwianRpIjoieCIsInVzZXJfaWQiOiIxIn0."
    "c2lnbmVkLWJ5LXNvbWVib2R5LWVsc2Utd2hvLWlzLW5vdC11cw",
    "half of one": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoi",
}


def refusal(folder: Path, url: str, token: str) -> str:
    with open_workspace(folder) as ws, pytest.raises((CurateError, AnnotationError)) as caught:
        options = ServeOptions(server=ServerConfig(), url=url, token=token)
        serve(ws, options, say=print, stop=threading.Event())
    assert not (folder / "label-studio" / "access.json").exists()  # nothing wrong is kept
    assert "\n" not in str(caught.value)
    assert token not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", list(WRONG))
def test_a_wrong_token_is_told_in_one_line(served: Served, elsewhere: Path, kind: str) -> None:
    said = refusal(elsewhere, served.url, WRONG[kind])
    assert re.search("refuses the token.*Account & Settings", said)


def test_what_is_not_there_or_something_else_is_told_in_one_line(
    elsewhere: Path, something_else: str
) -> None:
    for url in ("http://127.0.0.1:9", something_else):
        assert f"nothing answers as Label Studio at {url}" in refusal(elsewhere, url, "x" * 40)


def test_an_address_without_a_token_is_told_where_to_put_it(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    with open_workspace(elsewhere) as ws, pytest.raises(CurateError, match=TOKEN_VARIABLE):
        options = ServeOptions(server=ServerConfig(), url="http://127.0.0.1:9")
        serve(ws, options, say=print, stop=threading.Event())


@pytest.mark.apart
def test_raters_reach_the_managed_server_at_its_door_only(
    migrated_data: Path, elsewhere: Path, tmp_path: Path
) -> None:
    shutil.copytree(migrated_data, elsewhere / "label-studio")
    port = free_port()
    door = f"http://127.0.0.1:{port}"
    name = "https://labels.example.org"
    with serving(elsewhere, ["--port", str(port), "--address", name], {}) as up:
        access = read_access(elsewhere / "label-studio" / "access.json")
        assert access is not None
        assert access.page == name and access.url != door
        assert f"Raters log in at {name}." in up.said()
        assert httpx.get(f"{access.url}/health", trust_env=False).status_code == 200
        assert httpx.get(f"{door}/health", trust_env=False).status_code == 403
        me = Rater(name, access.admin_email, access.admin_password, ProxyWithTLS(door))
        assert me.log_in()
        assert all(cookie.secure for cookie in me.client.cookies.jar)
        # a form sent over the proxy's name counts as this page's own
        answer = me.client.post("/user/login/", headers={"Origin": name})
        assert "Another page" not in answer.text
        init_workspace(tmp_path / "second")
        with open_workspace(tmp_path / "second") as ws:
            options = ServeOptions(server=ServerConfig(port=port))
            with pytest.raises(CurateError, match=f"cannot listen on 127.0.0.1:{port}"):
                serve(ws, options, say=print, stop=threading.Event())
    for url in (door, access.url):
        with pytest.raises(httpx.ConnectError):
            httpx.get(url, trust_env=False)
