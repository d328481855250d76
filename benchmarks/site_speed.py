"""How long the site takes for a page of a workspace with many images.

    python -m benchmarks.site_speed WORKSPACE [--rows 100000] [--fuzz 10000]

Copies the workspace, multiplies its images and scores by copying rows, and asks for each order with
no filter, with one, and with several, in this process: server time without a network. `--fuzz` asks
for so many random addresses too and counts server errors.
"""

import argparse
import random
import re
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from urllib.parse import urlencode
from uuid import uuid4

import sqlalchemy as sa
from werkzeug.test import Client

from curate.site.app import site_app
from curate.web.pages import Sessions
from curate.workspace import Workspace, open_workspace
from db import queries
from db.queries.gallery import ORDERS

HOST = "127.0.0.1:8095"
REPEATS = 5


def multiply(ws: Workspace, rows: int) -> int:
    """Copy images and their scores until there are at least so many images; return how many."""
    connection = ws.session.connection()
    images = sa.Table("image", sa.MetaData(), autoload_with=connection)
    scores = sa.Table("score", sa.MetaData(), autoload_with=connection)
    first = connection.execute(sa.select(images)).mappings().all()
    first_scores = connection.execute(sa.select(scores)).mappings().all()
    random_ = random.Random(0)
    for copy in range(-(-rows // len(first)) - 1):
        ids = {row["id"]: uuid4().hex for row in first}
        made = [
            {
                **row,
                "id": ids[row["id"]],
                "item_key": row["item_key"] and uuid4().hex * 2,
                "seed": row["seed"] and row["seed"] + 10**9 * (copy + 1),
            }
            for row in first
        ]
        connection.execute(images.insert(), made)
        moved = [
            {**row, "image_id": ids[row["image_id"]], "mean": random_.random()}
            for row in first_scores
        ]
        if moved:
            connection.execute(scores.insert(), moved)
    ws.session.commit()
    return sum(count for *_, count in queries.gallery.facets(ws.session))


def filters(ws: Workspace) -> dict[str, dict[str, str]]:
    """Return what is asked for, by a name: none, each alone, several, and what nothing has."""
    facets = queries.gallery.facets(ws.session)
    modality, label = next((modality, label) for modality, label, _, _ in facets if label)
    releases = queries.releases.releases(ws.session)
    found = {
        "none": {},
        "modality": {"modality": modality},
        "label": {"label": str(label)},
        "words": {"words": "normal"},
        "origin": {"origin": "synthetic"},
        "version": {"version_id": queries.versions.versions(ws.session)[0].id},
        "rated": {"rated": "yes"},
        "not rated": {"rated": "no"},
        "score": {"least_score": "0.2", "most_score": "0.8"},
        "several": {
            "modality": modality,
            "label": str(label),
            "origin": "synthetic",
            "rated": "no",
        },
        "a label nobody has": {"label": "nobody"},
    }
    if releases:
        found["kept"] = {"release_id": releases[-1].id, "decision": "kept"}
    return found


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--fuzz", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "workspace"
        shutil.copytree(
            options.workspace, place, ignore=shutil.ignore_patterns("cache", "releases")
        )
        (place / "cache").mkdir()
        with open_workspace(place) as ws:
            measure(ws, multiply(ws, options.rows), options.fuzz)


def measure(ws: Workspace, num_images: int, num_fuzz: int) -> None:
    """Print the median of `REPEATS` answers for each order and filter, in milliseconds."""
    sessions = Sessions()
    client = Client(site_app(ws, sessions, hosts=[HOST]))
    base = f"http://{HOST}"
    client.get(f"/?token={sessions.invite('benchmark', may_act=False)}", base_url=base)
    print(f"{num_images:,} images; median of {REPEATS} answers in ms")
    print("| filter | " + " | ".join(ORDERS) + " |\n|---|" + "---|" * len(ORDERS))
    for name, asked in filters(ws).items():
        cells = []
        for order in ORDERS:
            path = f"/images?part=1&{urlencode({**asked, 'order': order})}"
            cells.append(f"{timed(client, base, path):.0f}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    image = queries.images.images(ws.session, limit=1)[0][0]
    for path in ("/", "/images", f"/images/{image.id}", "/rounds", "/studies", "/releases"):
        print(f"{path.replace(str(image.id), 'ID')}: {timed(client, base, path):.0f} ms")
    if num_fuzz:
        print(f"{num_fuzz} random addresses: {fuzz(client, base, num_fuzz, image)} server errors")


def timed(client: Client, base: str, path: str) -> float:
    """Return the median of some answers, in milliseconds."""
    found = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        answer = client.get(path, base_url=base)
        found.append(1000 * (time.perf_counter() - started))
        assert answer.status_code == 200, (path, answer.status)
    return median(found)


def fuzz(client: Client, base: str, count: int, image: object) -> int:
    """Return how many of so many random addresses gave a server error."""
    draw = random.Random(0)
    words = ["images", "files", "rounds", "studies", "releases", "runs", "pixels", "picture"]
    words += [*re.findall(r"\w+", str(image))[:40], "%00", "..", "é", "a" * 300, "-1", "{{7}}"]
    names = ["order", "after", "seed", "least_score", "label", "rated", "slice", "part", "reason"]
    values = ["", "nan", "1e999", "-9" * 20, "best", "0" * 32, "'", "%", "\x00", "yes", "\ud7ff"]
    errors = 0
    for _ in range(count):
        path = "/" + "/".join(draw.choices(words, k=draw.randrange(4)))
        query = urlencode(
            [(draw.choice(names), draw.choice(values)) for _ in range(draw.randrange(4))]
        )
        errors += client.get(f"{path}?{query}", base_url=base).status_code >= 500
    return errors


if __name__ == "__main__":
    main()
