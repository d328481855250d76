"""Texts of what changed: by column, by rules, and by a model behind a server of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from curate.errors import CurateError
from curate.journeys.config import DescribeConfig, JourneyDemo, JourneyImport
from curate.journeys.demo import make_demo
from curate.journeys.describe import describe_journeys
from curate.journeys.study_import import import_studies
from curate.progress import progress
from curate.workspace import Workspace
from db import queries
from tests.curate.journeys.planted import plan, write

SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
log, stop_after, answer = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
class Model(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with log.open("a") as file: file.write(json.dumps(asked) + "\\n")
        number = len(log.read_text().splitlines())
        busy = number == 2 or (stop_after and number > stop_after)
        body = json.dumps({"choices": [{"message": {"content": answer}}]}).encode()
        self.send_response(503 if busy else 200)
        self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
server = HTTPServer(("127.0.0.1", 0), Model)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def model(tmp_path: Path) -> Iterator[object]:
    """Start a model that answers one thing; call it with (answer, requests before it dies)."""
    started: list[subprocess.Popen[str]] = []

    def start(answer: str, stop_after: int = 0) -> tuple[str, Path]:
        log = tmp_path / f"asked-{len(started)}.jsonl"
        log.touch()
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(log), str(stop_after), answer],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        return f"http://127.0.0.1:{int(process.stdout.readline())}/v1", log

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def patients_in(workspace: Workspace) -> Workspace:
    make_demo(workspace, JourneyDemo(num_patients=6, side=16))
    return workspace


def test_rules_say_what_the_truth_says_and_flag_what_did_not_change(patients_in: Workspace) -> None:
    ws = patients_in
    found = describe_journeys(ws, DescribeConfig(), progress)
    truth = json.loads((ws.folder / "journeys-demo" / "truth.json").read_text())
    pairs = queries.journeys.journeys(ws.session)
    assert found.num_described == len(pairs) and not found.without
    for pair in pairs:
        was, now = (truth[one.source_path or ""]["findings"] for one in (pair.prior, pair.new))
        changes = sum(was[name] != now[name] for name in was)
        text = pair.journey.text or ""
        assert text.count("New") == sum(now[name] > was[name] for name in was), text
        assert text.count("Resolved") == sum(now[name] < was[name] for name in was), text
        assert pair.journey.unchanged is (changes == 0)
    assert describe_journeys(ws, DescribeConfig(), progress).num_asked == 0  # the keys hold


def test_a_models_texts_are_kept_and_a_dead_one_costs_nothing(
    patients_in: Workspace, model: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curate.journeys.endpoint.FIRST_WAIT", 0.0)
    ws = patients_in
    num_pairs = len(queries.journeys.journeys(ws.session))
    url, log = model("No change.", 4)  # type: ignore[operator]
    config = DescribeConfig(text="api", url=url, model="m1")
    with pytest.raises(CurateError, match="status 503.*same command to resume"):
        describe_journeys(ws, config, progress)
    kept = len(queries.journeys.journeys(ws.session, described=True))
    assert 0 < kept < num_pairs

    url, log = model("No change.")  # type: ignore[operator]
    found = describe_journeys(ws, DescribeConfig(text="api", url=url, model="m1"), progress)
    assert found.num_described == found.num_unchanged == num_pairs
    asked = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(asked) == num_pairs - kept + 1  # one was answered with 503, and asked again
    assert asked[0]["temperature"] == 0 and "EARLIER" in asked[0]["messages"][0]["content"]
    row = queries.journeys.journeys(ws.session)[0].journey
    assert row.text_details["model"] == "m1" and len(row.text_details["template_sha256"]) == 64
    assert describe_journeys(ws, config, progress).num_asked == 0


def test_an_answer_that_invents_a_finding_is_left_out(
    patients_in: Workspace, model: object
) -> None:
    url, _ = model("New rib fracture since 12/03/2020.")  # type: ignore[operator]
    found = describe_journeys(
        patients_in, DescribeConfig(text="api", url=url, model="m1"), progress
    )
    assert found.num_described == 0 and len(found.without) > 0
    assert "names a date" in str(found.without[0]) and "studies.csv:" in str(found.without[0])


def test_reports_do_not_leave_without_a_word(patients_in: Workspace) -> None:
    far = DescribeConfig(text="api", url="https://llm.example.com/v1", model="m1")
    with pytest.raises(CurateError, match="reports-may-leave"):
        describe_journeys(patients_in, far, progress)


def test_an_empty_column_is_named(tmp_path: Path, workspace: Workspace) -> None:
    table, _ = write("csv", plan(2), tmp_path)
    import_studies(workspace, table, JourneyImport())
    found = describe_journeys(workspace, DescribeConfig(text="column"), progress)
    assert found.num_described == 0
    assert all("its column progression is empty" in str(one) for one in found.without)
