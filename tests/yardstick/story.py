"""What the stored workspace was told, and the Label Studio that its raters answer in.

Both the script that made it and the tests that go on with it need these.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from tests.annotation.label_studio.fake import FakeLabelStudio

PROMPTS = """modality,text,label
OCT,drusen,amd
OCT,normal,normal
CXR,normal,normal
"""
PLAN = ("generate", "--count", "8", "--steps", "3")
MORE = ("generate", "--prompt", "OCT: healthy", "--steps", "3", "--count")
IMAGES_FROM = ("--images-from", "http://images.example.org")
BESIDE = {  # what commands ask of a server that backends alone do not
    "/health": {"status": "UP"},
    "/api/current-user/whoami": {"id": 1, "email": "keeper@curate.local"},
    "/api/invite": {"token": "t", "invite_url": "/user/signup/"},
}
USERS = {"ann": 2, "ben": 3}  # raters, and Label Studio's number of each
TRAINING_STEPS, TRAINING_STOPPED = 6, 4
TRAINING = (
    *("train-generator", "--steps", str(TRAINING_STEPS), "--batch-size", "4", "--samples", "0"),
    *("--learning-rate", "1e-3", "--warmup", "1", "--checkpoint-every", "2"),
)
RL_UPDATES, RL_STOPPED = 3, 2
RL_STEP = (
    *("rl-step", "--updates", str(RL_UPDATES), "--prompts-per-update", "2", "--group-size", "4"),
    *("--steps", "4", "--lora-rank", "2", "--seed", "7"),
)


@dataclass(frozen=True)
class Asked:
    """One question to a rater, about one image."""

    uid: str
    rater: str
    version_id: str | None
    seed: int | None


def asked(workspace: Path, campaign: str) -> list[Asked]:
    """Return what a campaign asks, as the tables say: no program is needed to read them."""
    with closing(sqlite3.connect(workspace / "curate.db")) as connection:
        rows = connection.execute(
            "SELECT assignment.id, rater.name, image.version_id, image.seed FROM assignment"
            " JOIN campaign ON campaign.id = assignment.campaign_id"
            " JOIN rater ON rater.id = assignment.rater_id"
            " JOIN image ON image.id = assignment.image_id"
            " WHERE campaign.name = ? ORDER BY rater.name, assignment.position",
            (campaign,),
        ).fetchall()
    return [Asked(_with_dashes(uid), *rest) for uid, *rest in rows]


def _with_dashes(uid: str) -> str:
    plain = uid.replace("-", "")
    return "-".join((plain[:8], plain[8:12], plain[12:16], plain[16:20], plain[20:]))


def drawn(array: dict[str, Any]) -> NDArray[Any]:
    """Return pixels of this shape and dtype, each a little more than the last."""
    shape = tuple(array["shape"])
    return (np.arange(np.prod(shape)) * 7).reshape(shape).astype(array["dtype"])


def keep_labels(fake: FakeLabelStudio, path: Path) -> None:
    """Write what the Label Studio holds."""
    kept = {name: getattr(fake, name) for name in ("users", "projects", "tasks", "last_id")}
    path.write_text(json.dumps({**kept, "now": fake.now.isoformat()}, indent=1))


def kept_labels(path: Path) -> FakeLabelStudio:
    """Return the Label Studio that was kept."""
    kept = json.loads(path.read_text())
    fake = FakeLabelStudio()
    fake.now = fake.now.fromisoformat(kept["now"])
    fake.last_id = kept["last_id"]
    fake.users, fake.projects, fake.tasks = (
        {int(number): entry for number, entry in kept[name].items()}
        for name in ("users", "projects", "tasks")
    )
    return fake


@contextmanager
def serving(fake: FakeLabelStudio) -> Iterator[str]:
    """Let commands reach it as they reach a real one; yield the address."""
    transport = fake.transport()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            content = self.rfile.read(length)
            beside = next((BESIDE[path] for path in BESIDE if self.path.startswith(path)), None)
            if beside is not None:
                response = httpx.Response(200, json=beside)
            else:
                url = f"http://labels{self.path}"
                request = httpx.Request(self.command, url, content=content)
                response = transport.handle_request(request)
            body = response.read()
            self.send_response_only(response.status_code)
            for name in ("Content-Type", "Date"):
                if name in response.headers:
                    self.send_header(name, response.headers[name])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_DELETE = answer

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
