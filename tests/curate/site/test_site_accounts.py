"""Accounts: who is let in by a password, what a role may do, and that raters stay blind."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest
from sqlmodel import select
from typer.testing import CliRunner
from werkzeug.test import TestResponse

from annotation.base import RaterProfile
from cli import app as command_line
from curate.errors import CurateError
from curate.rating.simulate import simulate_campaign, simulated_raters
from curate.site.accounts import (
    FAILED_S,
    FILE,
    MOST_FAILURES,
    PasswordCheck,
    add_account,
    read_accounts,
    remove_account,
)
from curate.site.app import site_app
from curate.site.config import SiteConfig
from curate.site.jobs import Jobs
from curate.site.serving import site
from curate.site.worker import work
from curate.web.pages import Sessions
from curate.workspace import Workspace
from db import queries
from db.engine import Engine, open_session
from db.models import AuditEvent, Image
from tests.curate.campaigns import create_campaign
from tests.curate.pictures import BrightnessEyes, add_pictures
from tests.curate.site.test_site import HOST, PAGES, Browser, Clock

LEE = RaterProfile(
    name="reader-1", expert_level=3, simulated=False, config={"email": "lee@hospital.example"}
)


@pytest.fixture
def app(workspace: Workspace) -> Iterator[object]:
    with closing(Jobs(workspace.folder, work)) as jobs:
        yield site_app(workspace, Sessions(), jobs, hosts=[HOST])


def sign_in(browser: Browser, name: str, password: str) -> TestResponse:
    return browser.post("/sign-in", {"name": name, "password": password})


def signed_in(app: object, ws: Workspace, name: str, role: str) -> Browser:
    browser = Browser(app)
    assert sign_in(browser, name, add_account(ws, name, role)).status_code == 303
    return browser


def test_accounts_that_are_added_at_once_are_all_there(workspace: Workspace) -> None:
    names = [f"reader-{number}" for number in range(8)]

    engine = workspace.session.get_bind()
    assert isinstance(engine, Engine)

    def add(name: str) -> None:
        with open_session(engine) as session:
            add_account(replace(workspace, session=session), name, "look")

    with ThreadPoolExecutor(len(names)) as people:
        list(people.map(add, names))
    assert sorted(read_accounts(workspace.folder)) == names


def test_the_right_password_lets_in_and_nothing_else_does(
    app: object, workspace: Workspace
) -> None:
    browser = Browser(app)
    assert 'name="password"' not in browser.get("/").text  # nobody has an account
    old = add_account(workspace, "lee", "look")
    password = add_account(workspace, "lee", "look")
    assert 'name="password"' in browser.get("/images").text
    for name, said in (("lee", old), ("lee", ""), ("nobody", ""), ("nobody", password), ("", "")):
        answer = sign_in(browser, name, said)
        assert answer.status_code == 401 and "is wrong" in answer.text
        assert "Set-Cookie" not in answer.headers and "Sign out" not in answer.text
    answer = browser.post("/sign-in", {"name": "lee", "password": password}, "http://evil.example")
    assert answer.status_code == 403
    answer = sign_in(browser, "lee", password)
    assert answer.status_code == 303 and "HttpOnly" in answer.headers["Set-Cookie"]
    assert browser.get("/").status_code == 200
    events = [event.details for event in workspace.session.exec(select(AuditEvent))]
    assert {"signed_in": "lee", "role": "look"} in events
    assert password not in json.dumps(events)
    stored = workspace.folder / FILE
    assert password not in stored.read_text() and stored.stat().st_mode & 0o077 == 0


def test_who_looks_cannot_act_and_a_change_holds_at_once(app: object, workspace: Workspace) -> None:
    browser = signed_in(app, workspace, "lee", "look")
    stop = {"csrf": browser.csrf(), "order": "stop"}
    assert browser.post("/runs/abc", stop).status_code == 403
    add_account(workspace, "lee", "act")
    answer = browser.post("/runs/abc", stop)  # let through, and there is no such run
    assert answer.status_code == 400 and "No run is at work" in answer.text
    remove_account(workspace, "lee")
    assert browser.get("/images").status_code == 403
    with pytest.raises(CurateError, match="No account 'lee'"):
        remove_account(workspace, "lee")


@pytest.mark.parametrize("name", ["Lee@Hospital.example", "reader-1"])
def test_a_rater_of_an_open_study_is_kept_out_and_put_out(
    app: object, workspace: Workspace, name: str
) -> None:
    images = add_pictures(workspace, 3)
    browser = signed_in(app, workspace, name, "act")  # before anybody is asked
    assert browser.get("/").status_code == 200
    campaign = create_campaign(
        workspace, name="open", images=images, raters=[LEE], overlap=1, backend="csv"
    )
    workspace.session.commit()
    everything = [*PAGES, "/images.json", "/.json", f"/images/{images[0].id}"]
    everything += [f"/files/{images[0].file_sha256}/{kind}" for kind in ("picture", "thumbnail")]
    for path in everything:
        answer = browser.get(path)
        assert answer.status_code == 403, path
        assert not tells(answer.text, images), path
    password = add_account(workspace, name, "act")
    again = Browser(app)
    answer = sign_in(again, name, password)
    assert answer.status_code == 403 and "still open" in answer.text
    assert not tells(answer.text, images) and again.get("/").status_code == 401
    queries.archive.set_archived(workspace.session, "campaign", str(campaign.id), archived=True)
    workspace.session.commit()
    assert sign_in(again, name, password).status_code == 303  # nobody will be asked any more


def tells(text: str, images: list[Image]) -> bool:
    """Say whether a page names an image, or says anything of its origin, version or score."""
    words = ["real", "synthetic", "score", "version", "kept", "rejected"]
    told = text.casefold().partition("<main")[2] or text.casefold()
    return any(word in told for word in words) or any(str(one.id) in told for one in images)


def test_a_rater_may_look_when_the_study_is_over(app: object, workspace: Workspace) -> None:
    images = add_pictures(workspace, 3)
    raters = simulated_raters(2)
    for pairs, name in ((False, "single"), (True, "pairs")):
        campaign = create_campaign(
            workspace, name=name, images=images, raters=raters, overlap=2, pairs=pairs
        )
        workspace.session.commit()
        password = add_account(workspace, raters[0].name, "look")
        assert sign_in(Browser(app), raters[0].name, password).status_code == 403
        simulate_campaign(workspace, campaign, eyes=BrightnessEyes(), advance=lambda _: None)
        workspace.session.commit()
        assert sign_in(Browser(app), raters[0].name, password).status_code == 303


def test_guessing_closes_a_name_for_a_while_and_no_other(workspace: Workspace) -> None:
    clock = Clock()
    check = PasswordCheck(now=clock)
    passwords = {name: add_account(workspace, name, "look") for name in ("lee", "kim")}
    for _ in range(MOST_FAILURES):
        assert check.admit(workspace, "lee", "guess") is None
    with pytest.raises(Exception, match="Wait 5 minutes"):
        check.admit(workspace, "lee", passwords["lee"])
    assert check.admit(workspace, "kim", passwords["kim"]) is not None
    clock.now += FAILED_S + 1
    assert check.admit(workspace, "lee", passwords["lee"]) is not None


def test_an_address_that_others_reach_needs_accounts_and_a_word_on_tls(
    workspace: Workspace,
) -> None:
    def refused(**settings: object) -> str:
        with pytest.raises(CurateError) as error, site(workspace, SiteConfig(port=0, **settings)):  # type: ignore[arg-type]
            pass
        return str(error.value)

    assert "curate accounts add" in refused(host="0.0.0.0", plain_http=True)
    add_account(workspace, "lee", "look")
    assert "--plain-http" in refused(host="127.0.0.2")
    assert "the address that browsers use" in refused(host="0.0.0.0", plain_http=True)
    with site(workspace, SiteConfig(port=0, host="127.0.0.2", plain_http=True)) as running:
        assert "token" not in running.sign_in() and running.url.startswith("http://127.0.0.2:")
    behind = SiteConfig(port=0, host="0.0.0.0", names=("curate.hospital.example",))
    with site(workspace, behind) as running:
        assert running.sign_in().startswith("https://curate.hospital.example/ ")


def test_the_command_adds_lists_and_removes(workspace: Workspace) -> None:
    def run(*words: str) -> str:
        answer = CliRunner().invoke(command_line, ["accounts", *words, "-w", str(workspace.folder)])
        assert answer.exit_code == 0, answer.output
        return answer.stdout

    create_campaign(
        workspace,
        name="open",
        images=add_pictures(workspace, 1),
        raters=[LEE],
        overlap=1,
        backend="csv",
    )
    workspace.session.commit()
    assert "open: open" in run("add", "lee@hospital.example").replace("is open", "open")
    assert json.loads(run("add", "kim", "--role", "act", "--json"))["studies"] == []
    assert json.loads(run("list", "--json")) == [
        {"account": "kim", "role": "act", "kept out by": ""},
        {"account": "lee@hospital.example", "role": "look", "kept out by": "open"},
    ]
    run("remove", "kim")
    assert [*read_accounts(workspace.folder)] == ["lee@hospital.example"]
    answer = CliRunner().invoke(
        command_line, ["accounts", "add", "kim", "--role", "own", "-w", str(workspace.folder)]
    )
    assert answer.exit_code == 1 and "Known: look, act" in answer.output
    (workspace.folder / FILE).chmod(0o644)
    with pytest.raises(CurateError, match="chmod 600"):
        read_accounts(workspace.folder)
