"""How long the site takes for a page of a workspace with many images.

    python -m benchmarks.site_speed WORKSPACE [--rows 100000]

Copies the workspace, multiplies its images and scores by copying rows, draws distances to training
images and disagreements of raters, and asks for each order with
no filter, with one, and with several, in this process: server time without a network.
"""

import argparse
import random
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from urllib.parse import urlencode
from uuid import UUID, uuid4

import sqlalchemy as sa
from werkzeug.test import Client

from curate.site.app import site_app
from curate.site.jobs import Jobs
from curate.site.worker import work
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
    standings: dict[UUID, dict[str, float]] = {}
    for copy in range(-(-rows // len(first)) - 1):
        ids = {row["id"]: uuid4().hex for row in first}
        made = [
            {
                **row,
                "id": ids[row["id"]],
                "pixels_sha256": uuid4().hex * 2,  # a picture of its own
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
    for [image_id] in connection.execute(sa.select(images.c.id)).all():
        known = {"train_distance": random_.random(), "disagreement": random_.random()}
        standings[UUID(hex=image_id)] = known
    for column in queries.standings.COLUMNS:
        values = {image_id: known[column] for image_id, known in standings.items()}
        queries.standings.note_standings(ws.session, column, values)
    ws.session.commit()
    return queries.gallery.num_images(ws.session)


def filters(ws: Workspace) -> dict[str, dict[str, str]]:
    """Return what is asked for, by a name: none, each alone, several, and what nothing has."""
    modality, label = next(pair for pair in queries.gallery.named_prompts(ws.session) if pair[1])
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
        "seed": {"seed": "0"},
        "few scores": {"least_score": "0.999"},
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
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "workspace"
        shutil.copytree(
            options.workspace, place, ignore=shutil.ignore_patterns("cache", "releases")
        )
        (place / "cache").mkdir()
        with open_workspace(place) as ws:
            measure(ws, multiply(ws, options.rows))


def measure(ws: Workspace, num_images: int) -> None:
    """Print the median of `REPEATS` answers for each order and filter, in milliseconds."""
    sessions = Sessions()
    client = Client(site_app(ws, sessions, Jobs(ws.folder, work), hosts=[HOST]))
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
    pages = ("/", "/images", f"/images/{image.id}", "/rounds", "/studies", "/releases", "/atlas")
    for path in (*pages, "/atlas?words=normal", "/atlas?words=OCT:+drusen"):
        print(f"{path.replace(str(image.id), 'ID')}: {timed(client, base, path):.0f} ms")


def timed(client: Client, base: str, path: str) -> float:
    """Return the median of some answers, in milliseconds."""
    found = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        answer = client.get(path, base_url=base)
        found.append(1000 * (time.perf_counter() - started))
        assert answer.status_code == 200, (path, answer.status)
    return median(found)


if __name__ == "__main__":
    main()
