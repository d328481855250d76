"""The running service: real sockets, a real workspace."""

import random
import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from curate.errors import CurateError
from curate.image_service.addresses import signed_urls
from curate.image_service.config import ImageServiceConfig
from curate.image_service.server import image_service
from curate.image_service.signing import KEY_FILE, workspace_key
from curate.workspace import Workspace, init_workspace, open_workspace
from db.models import Campaign
from tests.broken_http import exchange, mutated
from tests.curate.image_service.png import chunk_names
from tests.curate.image_service.study import SYNTHETIC_SIDE

ANY_PORT = ImageServiceConfig(port=0, origins=("http://127.0.0.1:8090",))
NUM_MUTATIONS = 400


def test_every_picture_of_a_campaign_comes_in_one_size_and_length(
    workspace: Workspace, campaign: Campaign
) -> None:
    with image_service(workspace, ANY_PORT) as service, browser() as client:
        urls = signed_urls(workspace, campaign, base_url=service.url)
        answers = [client.get(url) for url in urls.values()]
    assert {answer.status_code for answer in answers} == {200}
    assert len({len(answer.content) for answer in answers}) == 1
    raw = 3 * SYNTHETIC_SIDE**2
    assert raw < len(answers[0].content) < raw + 200  # stored, not compressed
    assert set.union(*(chunk_names(a.content) for a in answers)) == {b"IHDR", b"IDAT", b"IEND"}
    assert len(set(urls.values())) == len(urls)  # even where two raters see the same image
    assert all("server" not in answer.headers for answer in answers)


def test_another_workspaces_address_is_refused(
    workspace: Workspace, campaign: Campaign, tmp_path: Path
) -> None:
    init_workspace(tmp_path / "other")
    with (
        open_workspace(tmp_path / "other") as other,
        image_service(other, ANY_PORT) as service,
        browser() as client,
    ):
        for url in signed_urls(workspace, campaign, base_url=service.url).values():
            assert client.get(url).status_code == 403


def test_an_expired_address_is_refused_and_a_new_key_ends_all(
    workspace: Workspace, campaign: Campaign
) -> None:
    with image_service(workspace, ANY_PORT) as service, browser() as client:
        past = signed_urls(workspace, campaign, base_url=service.url, valid_days=-1)
        assert client.get(next(iter(past.values()))).status_code == 410
        good = next(iter(signed_urls(workspace, campaign, base_url=service.url).values()))
        assert client.get(good).status_code == 200
    (workspace.folder / KEY_FILE).unlink()
    with image_service(workspace, ANY_PORT) as service, browser() as client:
        moved = urlsplit(good)._replace(netloc=urlsplit(service.url).netloc).geturl()
        assert client.get(moved).status_code == 403


def test_a_port_that_is_taken_is_refused_not_moved_from(workspace: Workspace) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(CurateError, match=f"cannot listen on 127.0.0.1:{port}"),
            image_service(workspace, ImageServiceConfig(port=port)),
        ):
            pass


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/images",
        "/images/",
        "/image-service.key",
        "/curate.db",
        "/../curate.db",
        "/images/../../curate.db",
        "/images/..%2f..%2fcurate.db",
        "/images/%2e%2e/%2e%2e/curate.db",
        "/images/....//curate.db",
        "/images/\\..\\curate.db",
        "//etc/passwd",
        "/images/%00",
        "http://elsewhere.example/curate.db",
    ],
)
def test_nothing_else_of_the_machine_can_be_read(workspace: Workspace, path: str) -> None:
    """Sent as it stands: a client library would tidy the dots away."""
    secret = workspace_key(workspace.folder)
    with image_service(workspace, ANY_PORT) as service:
        said = exchange(service.url, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert said.startswith((b"HTTP/1.1 403", b"HTTP/1.1 400"))
    assert secret not in said and b"SQLite" not in said and b"root:" not in said


def test_whatever_is_sent_the_service_gives_no_picture_and_goes_on(
    workspace: Workspace, campaign: Campaign
) -> None:
    """Signed addresses with bytes changed, cut, doubled and swapped; and noise."""
    chance = random.Random(0)
    with image_service(workspace, ANY_PORT) as service, browser() as client:
        good = next(iter(signed_urls(workspace, campaign, base_url=service.url).values()))
        request = f"GET {good.removeprefix(service.url)} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        assert exchange(service.url, request).startswith(b"HTTP/1.1 200")
        target = len(request) - len(b" HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(NUM_MUTATIONS):
            sent = mutated(chance, request, target)
            said = exchange(service.url, sent)
            assert b"image/png" not in said, sent
            assert not said or said[9:10] in b"45" or said[9:12] == b"204", (sent, said[:80])
            assert b"Traceback" not in said
        assert client.get(good).status_code == 200


def browser() -> httpx.Client:
    """Patient: the machine may be busy."""
    return httpx.Client(timeout=60)
