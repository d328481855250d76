"""Whether any address or form makes the site fail.

    python -m benchmarks.site_fuzz [WORKSPACE] [--count 10000] [--seed 0]

Asks a copy of the workspace (without one, a small one with a round, ratings and scores) for seeded
random addresses: the site's own patterns with ids that are known, of another kind or made up, with
parameters and forms that it reads, and paths that are none. Prints how often which status came;
ends with 1 where one was 500 or more. Work for the worker is queued and answered without torch.
"""

import argparse
import io
import json
import random
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from werkzeug.test import Client

from curate.site.app import PAGES, WORKING, site_app
from curate.site.jobs import Jobs
from curate.web.pages import Sessions
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from tests.curate.conftest import Story, steps
from tests.curate.site.labour import refuse

HOST = "127.0.0.1:8095"
BASE = f"http://{HOST}"
PATTERNS = (
    *(f"GET {path}" for path in PAGES),
    *WORKING,
    "POST /runs/<run_id>",
    "POST /sign-in",
    "GET /static/<name>",
)
NAMES = (  # of parameters and fields that some page reads
    *("modality", "label", "words", "origin", "version_id", "run_id", "release_id", "decision"),
    *("reason", "seed", "least_score", "most_score", "rated", "order", "after", "part", "slice"),
    *("version", "text", "other_text", "other_version", "count", "steps", "guidance", "image_id"),
    *("image_guidance", "image:prior", "record:age", "image", "act", "name", "overlap", "password"),
    *("v", "other_field", "other_value"),
)
ODD = (
    *("", "nan", "1e999", "-9" * 20, "0" * 32, "-1", "2", "best", "most-disagreement", "yes"),
    *(
        "'",
        '"; DROP TABLE image; --',
        "%",
        "%25",
        "\x00",
        "\ud7ff",
        "é",
        "日本",
        "{{7*7}}",
        "a" * 900,
    ),
    *(
        "..",
        "../../curate.db",
        "..%2f..%2fcurate.db",
        "<script>",
        "true",
        "[]",
        "OCT",
        "study",
        "csv",
    ),
)
WHOLE = ("/", "//", "/.json", "/images.json.json", "/%ff%fe", "/%00", "/..;/", "/" + "a/" * 200)


@dataclass
class Fuzzed:
    """What came of it."""

    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)  # what was asked and answered with 5xx


def fuzz(ws: Workspace, count: int, seed: int) -> Fuzzed:
    """Ask for `count` random addresses of a workspace's site."""
    draw, found, sessions = random.Random(seed), Fuzzed(), Sessions()
    with closing(Jobs(ws.folder, refuse)) as jobs:
        client = Client(site_app(ws, sessions, jobs, hosts=[HOST]))
        token = sessions.invite("fuzz", may_act=True)
        client.get(f"/?token={token}", base_url=BASE)
        page = client.get("/", base_url=BASE).text
        csrf = re.findall(r'name="csrf" value="([^"]+)"', page)[0]
        for method, path, form in asked(draw, ids(ws), csrf, count):
            options: dict[str, Any] = {"data": form, "headers": {"Origin": BASE}}
            answer = client.open(
                path, method=method, base_url=BASE, **(options if method == "POST" else {})
            )
            found.statuses[answer.status_code] += 1
            if answer.status_code >= 500:
                found.failures.append(f"{method} {path} {form}: {answer.status}")
    return found


def ids(ws: Workspace) -> dict[str, list[str]]:
    """Return ids, hashes and names of the workspace, by the place in a pattern that takes them."""
    session = ws.session
    images = queries.images.images(session, limit=5)
    return {
        "image_id": [str(image.id) for image, _ in images],
        "sha256": [image.file_sha256 for image, _ in images],
        "version": [row.id for row in queries.versions.versions(session)],
        "round_id": [str(row.id) for row in queries.rounds.rounds(session)],
        "release_id": [row.id for row in queries.releases.releases(session)],
        "name": [row.name for row in queries.campaigns.campaigns(session)] + ["site.css"],
        "int": ["0", "1", "15"],
    }


def asked(
    draw: random.Random, known: Mapping[str, Sequence[str]], csrf: str, count: int
) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Yield method, address with its parameters, and form; half of what is filled in fits."""
    values = [*ODD, *chain(*known.values())]

    def fitting(name: str) -> str:
        fits = known.get(name.rpartition(":")[2]) or known.get(name.partition(":")[0])
        return draw.choice(fits if fits and draw.random() < 0.5 else values)

    for _ in range(count):
        method, _, pattern = draw.choice(PATTERNS).partition(" ")
        path = re.sub(
            r"<([^>]+)>",
            lambda place: quote(fitting(place[1]), safe=draw.choice(("", "/%."))),
            pattern,
        )
        if draw.random() < 0.1:
            path = draw.choice(WHOLE)
        path += draw.choice(("", "", "", ".json", "/", "/x"))
        given = [(name, fitting(name)) for name in draw.choices(NAMES, k=draw.randrange(5))]
        form: dict[str, object] = {}
        if method == "POST":
            form = {name: fitting(name) for name in draw.choices(NAMES, k=draw.randrange(8))}
            form |= {"csrf": csrf} if draw.random() < 0.8 else {}
            if draw.random() < 0.2:
                name = draw.choice(("image", "file:prior", "file:mask"))
                form[name] = (io.BytesIO(draw.choice(ODD).encode()), draw.choice(("a.png", "é")))
        method = draw.choice((method, method, method, method, "GET", "HEAD", "PUT"))
        yield method, f"{path}?{urlencode(given)}", form if method == "POST" else {}


@contextmanager
def workspace_of(copied: Path | None) -> Iterator[Workspace]:
    """Yield a copy of a workspace, or a small one with some of everything."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "workspace"
        if copied is None:
            init_workspace(place)
        else:
            shutil.copytree(copied, place, ignore=shutil.ignore_patterns("cache", "releases"))
            (place / "cache").mkdir()
        with open_workspace(place) as ws:
            if copied is None:
                told = Story(ws)
                for step in steps():
                    step(told)
                ws.session.commit()
            yield ws


def main() -> None:
    """Fuzz, and print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path, nargs="?")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with workspace_of(options.workspace) as ws:
        found = fuzz(ws, options.count, options.seed)
    print(json.dumps({"statuses": dict(sorted(found.statuses.items()))}))
    print("\n".join(found.failures))
    sys.exit(bool(found.failures))


if __name__ == "__main__":
    main()
