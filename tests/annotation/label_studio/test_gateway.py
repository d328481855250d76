"""The door before Label Studio, with a Label Studio behind it that records what reaches it."""

import json
import random
import re
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest

from annotation.label_studio.gateway import gateway_app
from annotation.label_studio.gateway_rules import RULES, Refused, call_for
from curate.web.wsgi import listen, served
from tests.broken_http import exchange, mutated

UUID = "12287177-0409-499f-9788-bbcd11c7c627"
PICTURE = f"images/{UUID}/{UUID}-left.png"
NUM_MUTATIONS = 400
# all that may reach Label Studio: looking up whose a number is, and ann's own (which end in 1)
LOOK_UP = r"GET /api/(projects|tasks|annotations|drafts)/[0-9]+/|GET /api/current-user/whoami"
OWN = (
    r"GET /(user/login|logout|favicon\.ico|api/version)/?",
    r"GET /(static|react-app)/[\w./-]+",
    r"GET /api/projects/\?page_size=100",
    r"GET /(api/)?projects/1(/data|/next|/label-stream-history)?/?(\?labeling=1|\?task=1)?",
    r"GET /api/(ml|users|label_links|dm/(project|columns|views))/?\?project=1",
    r"POST /api/dm/actions/?\?id=next_task&project=1",
    r"(GET|POST|PATCH|DELETE) /api/(tasks|annotations|drafts)/1(/annotations|/drafts)?/?",
    rf"GET /data/local-files/?\?d=images%2F{UUID}%2F{UUID}-left9?\.png",
)


class Behind:
    """Ann's are the numbers 1, ben's the numbers 2; whoever asks is ann."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.requests: list[httpx.Request] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        target = request.url.raw_path.decode()
        self.asked.append(f"{request.method} {target}")
        self.requests.append(request)
        if "sessionid=ann" not in request.headers.get("Cookie", ""):
            return httpx.Response(401)
        if target == "/api/current-user/whoami":
            return httpx.Response(200, json={"id": 1, "email": "ann@example.org"})
        if found := re.fullmatch("/api/(annotations|drafts)/([12])/", target):
            number = int(found[2])
            mine = {"completed_by": number, "user": ("", "ann@example.org", "ben@x")[number]}
            return httpx.Response(200, json={"id": number, "task": number, **mine})
        if re.fullmatch("/api/(projects|tasks)/2/", target):
            return httpx.Response(404)
        headers = {"Set-Cookie": "csrftoken=x; Path=/", "X-Secret": "inside", "Server": "inside"}
        return httpx.Response(200, json={}, headers=headers)


@pytest.fixture
def behind() -> Behind:
    return Behind()


@pytest.fixture
def door(behind: Behind) -> Iterator[str]:
    listener = listen("127.0.0.1", 0, "The rating page")
    app = gateway_app("http://inside", transport=httpx.MockTransport(behind.answer))
    with served(app, listener, threads=2, max_body=1_048_576):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def ann(door: str) -> Iterator[httpx.Client]:
    cookies = {"sessionid": "ann", "csrftoken": "x"}
    with httpx.Client(base_url=door, cookies=cookies, trust_env=False) as client:
        yield client


@pytest.mark.parametrize(
    ("address", "cookie"),
    [
        ("", "csrftoken=x; Path=/"),
        ("http://labels.example.org", "csrftoken=x; Path=/"),
        ("https://labels.example.org", "csrftoken=x; Path=/; Secure"),
    ],
)
def test_behind_tls_cookies_are_sent_by_tls_only(behind: Behind, address: str, cookie: str) -> None:
    behind_it = httpx.MockTransport(behind.answer)
    app = gateway_app("http://inside", address=address, transport=behind_it)
    transport = httpx.WSGITransport(app)
    cookies = {"sessionid": "ann"}
    with httpx.Client(base_url="http://door", cookies=cookies, transport=transport) as client:
        assert client.get("/api/projects/1").headers["Set-Cookie"] == cookie


def strays(behind: Behind) -> list[str]:
    return [asked for asked in behind.asked if not re.fullmatch("|".join((LOOK_UP, *OWN)), asked)]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/projects/1/data?labeling=1&tab=2"),
        ("GET", "/projects/1/data?task=1"),
        ("GET", "/api/projects/1"),
        ("GET", "/api/dm/project?project=1"),
        ("POST", "/api/dm/actions?id=next_task&tabID=2&project=1"),
        ("GET", "/api/tasks/1?project=1"),
        ("POST", "/api/tasks/1/annotations?project=1"),
        ("PATCH", "/api/annotations/1?taskID=1&project=1"),
        ("DELETE", "/api/annotations/1/"),
        ("PATCH", "/api/drafts/1"),
        ("GET", f"/data/local-files/?d={PICTURE}"),
        ("GET", f"/data/local-files/?d=images/{UUID}/{UUID}-left9.png"),
        ("GET", "/static/js/sw.js"),
    ],
)
def test_the_rating_page_gets_what_it_asks_for(
    ann: httpx.Client, behind: Behind, method: str, path: str
) -> None:
    answer = ann.request(method, path, json={"result": []} if method in ("POST", "PATCH") else None)
    assert answer.status_code == 200, answer.text
    assert strays(behind) == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/projects/2/data?labeling=1"),
        ("GET", "/projects/1/data?task=2"),
        ("GET", "/api/projects/2/next"),
        ("GET", "/api/dm/project?project=2"),
        ("GET", "/api/dm/project"),
        ("GET", "/api/dm/project?project=1&project=2"),
        ("GET", "/api/label_links?project=01"),
        ("POST", "/api/dm/actions?id=next_task&project=2"),
        ("POST", "/api/dm/actions?id=delete_tasks&project=1"),
        ("POST", "/api/dm/actions?id=next_task&id=delete_tasks&project=1"),
        ("GET", "/api/tasks/2"),
        ("PATCH", "/api/tasks/1"),
        ("GET", "/api/annotations/1"),
        ("PATCH", "/api/annotations/2"),
        ("DELETE", "/api/annotations/2"),
        ("POST", "/api/tasks/2/annotations"),
        ("POST", "/api/tasks/1/annotations/2/drafts"),
        ("DELETE", "/api/drafts/2"),
        ("GET", "/api/current-user/token"),
        ("GET", "/user/account"),
        ("GET", "/user/signup/"),
        ("GET", "/admin/"),
        ("GET", f"/data/local-files/?d={PICTURE}&d=images/x.png"),
        ("GET", f"/data/local-files/?d=images/{UUID}/{UUID}-left10.png"),
        ("GET", "/data/local-files/?d=images/../access.json"),
        ("GET", "/static/%2e%2e/api/users"),
        ("GET", "/static//api/users"),
        ("GET", "/api%2Fusers"),
        ("GET", "/static/.env"),
        ("GET", "/api/tasks/1%0a"),
        ("GET", "/user/login/?next=//evil.example.org"),
        ("TRACE", "/api/version"),
        ("PUT", "/api/annotations/1"),
        ("OPTIONS", "/api/annotations/1"),
    ],
)
def test_nothing_else_passes(ann: httpx.Client, behind: Behind, method: str, path: str) -> None:
    answer = ann.request(method, path, json={"result": []} if method in ("POST", "PATCH") else None)
    assert answer.status_code in (400, 403, 404, 405, 501), answer.text
    assert [asked for asked in behind.asked if not re.fullmatch(LOOK_UP, asked)] == []


def test_what_goes_on_is_written_anew(ann: httpx.Client, behind: Behind) -> None:
    body = {
        "result": [1],
        "lead_time": 2,
        "draft_id": 0,
        "completed_by": 2,
        "ground_truth": True,
        "task": 2,
    }
    told = {
        "Authorization": "Token 12",
        "X-Api-Key": "12",
        "X-HTTP-Method-Override": "DELETE",
        "X-Forwarded-Host": "evil.example.org",
        "X-Original-URL": "/api/users",
    }
    assert ann.post("/api/tasks/1/annotations?x=1", json=body, headers=told).status_code == 200
    sent = behind.requests[-1]
    assert sent.method == "POST" and sent.url.raw_path == b"/api/tasks/1/annotations"
    assert json.loads(sent.content) == {"result": [1], "lead_time": 2, "draft_id": 0}
    assert sent.headers["Host"] == "inside"
    assert not {name.lower() for name in told} & set(sent.headers)


def test_the_page_gets_what_the_door_adds_to_it(behind: Behind) -> None:
    def page(request: httpx.Request) -> httpx.Response:
        headers = {"Content-Type": "text/html; charset=utf-8", "ETag": "1"}
        return httpx.Response(200, text="<html><head><title>x</title>", headers=headers)

    app = gateway_app("http://inside", transport=httpx.MockTransport(page))
    with httpx.Client(transport=httpx.WSGITransport(app=app), base_url="http://door") as client:
        answer = client.get("/user/login/")
        added = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
        assert answer.text.index("page.js") < answer.text.index("<title>")  # before the theme's
        assert "ETag" not in answer.headers
        kinds = [client.get(path).headers["Content-Type"].partition(";")[0] for path in added]
    assert kinds == ["text/javascript", "text/css"]


def test_how_a_list_is_to_look_is_kept_nowhere(ann: httpx.Client, behind: Behind) -> None:
    for method, path in (("POST", "/api/dm/views?project=1"), ("PATCH", "/api/dm/views/1?x=2")):
        answer = ann.request(method, path, json={"data": {"title": "Default"}})
        assert answer.status_code == 200 and answer.json()["id"] == 1
    assert behind.asked == []


def test_the_front_page_names_what_there_is_to_read_and_hides_what_is_done() -> None:
    def projects(request: httpx.Request) -> httpx.Response:
        counts = [(14, 2, 1), (4, 3, 1), (3, 0, 0)]  # tasks, answered, passed over
        rows = [
            {
                "id": number,
                "title": f"<OCT>: {total} images (0123456789a{number})",
                "task_number": total,
                "total_annotations_number": answered,
                "skipped_annotations_number": skipped,
            }
            for number, (total, answered, skipped) in enumerate(counts, 1)
        ]
        return httpx.Response(200, json={"results": rows})

    app = gateway_app("http://inside", transport=httpx.MockTransport(projects))
    with httpx.Client(transport=httpx.WSGITransport(app=app), base_url="http://door") as client:
        page = client.get("/").text
    assert "&lt;OCT&gt;: 14 images</a> <span>3 of 14 read</span>" in page
    assert "/projects/2/" not in page and "1 finished." in page and "0 of 3 read" in page


def test_what_comes_back_tells_nothing_of_the_inside(ann: httpx.Client) -> None:
    answer = ann.get("/api/version")
    assert answer.headers["Set-Cookie"] == "csrftoken=x; Path=/"
    assert "inside" not in str(answer.headers)
    assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"result": ', b'{"lead_time": NaN}', b"[" * 100_000, b"\xff\xfe"]
)
def test_what_is_no_answer_is_refused(ann: httpx.Client, behind: Behind, body: bytes) -> None:
    assert ann.post("/api/tasks/1/annotations", content=body).status_code == 400
    assert "POST /api/tasks/1/annotations" not in behind.asked


def test_anothers_draft_cannot_be_named_in_an_answer(ann: httpx.Client, behind: Behind) -> None:
    for draft, status in ((1, 200), (2, 404), ("2", 404), ([2], 404), (True, 404)):
        body = {"result": [], "draft_id": draft}
        assert ann.post("/api/tasks/1/annotations", json=body).status_code == status, draft


def test_another_pages_script_sends_nothing(ann: httpx.Client, behind: Behind) -> None:
    for origin in ("https://evil.example.org", "null", "http://[::1", "http://127.0.0.1:1"):
        answer = ann.delete("/api/annotations/1", headers={"Origin": origin})
        assert answer.status_code == 403
    assert behind.asked == []
    assert ann.delete("/api/annotations/1", headers={"Origin": str(ann.base_url)}).is_success


def test_without_a_login_there_is_the_login_page_only(door: str, behind: Behind) -> None:
    with httpx.Client(base_url=door, trust_env=False) as client:
        page = client.get("/projects/1/data?labeling=1")
        assert page.status_code == 302
        assert page.headers["Location"] == "/user/login/?next=/projects/1/data%3Flabeling%3D1"
        assert client.get("/").headers["Location"] == "/user/login/"
        assert client.get("/api/projects/1").status_code == 404
        assert client.get("/api/tasks?project=1").json()["tasks"] == []


def test_a_server_that_is_down_is_told_in_a_line() -> None:
    def down(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    app = gateway_app("http://inside", transport=httpx.MockTransport(down))
    with httpx.Client(transport=httpx.WSGITransport(app=app), base_url="http://door") as client:
        answer = client.get("/api/version")
    assert (answer.status_code, answer.text.count("\n")) == (502, 1)
    assert "inside" not in answer.text


def test_no_broken_request_reaches_more_than_ann_may(door: str, behind: Behind) -> None:
    chance = random.Random(0)
    paths = ["/api/annotations/1", "/projects/1/data", f"/data/local-files/?d={quote(PICTURE)}"]
    paths += ["/api/dm/project?project=1", "/static/js/sw.js", "/api/tasks/1?project=1"]
    for _ in range(NUM_MUTATIONS):
        head = f"GET {chance.choice(paths)}"
        good = (
            f"{head} HTTP/1.1\r\nHost: x\r\nCookie: sessionid=ann; csrftoken=x\r\n"
            "Connection: close\r\n\r\n"
        ).encode()
        said = exchange(door, mutated(chance, good, len(head)))
        assert b"Traceback" not in said and b"inside" not in said
    assert strays(behind) == []
    assert len(behind.asked) > NUM_MUTATIONS / 20  # some were still good


def test_of_random_paths_only_the_listed_ones_pass() -> None:
    """A path passes when a rule fits it whole, and then it is its own only spelling."""
    chance = random.Random(0)
    pieces = [
        "/",
        "//",
        "..",
        ".",
        "api",
        "tasks",
        "1",
        "projects",
        "static",
        "%2f",
        "\\",
        ";",
        "\n",
    ]
    pieces += [
        "data",
        "user",
        "login",
        "annotations",
        "\x00",
        "é",
        "?",
        "#",
        "drafts",
        "local-files",
    ]
    for _ in range(20_000):
        path = "".join(chance.choice(pieces) for _ in range(chance.randrange(1, 9)))
        try:
            call = call_for(chance.choice(["GET", "POST", "DELETE"]), path, "")
        except Refused:
            continue
        assert re.fullmatch("(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+/?", call.target), path
    assert len({(rule.method, rule.path) for rule in RULES}) == len(RULES)
