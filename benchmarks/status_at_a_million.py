"""How long does `curate status` take at a million image rows?

Makes a SQLite workspace of 1,000,000 images with scores, 100,000 ratings and one finished run, then
times the status function and the whole command, the best and the worst of five.

    python -m benchmarks.status_at_a_million [FOLDER]

The folder is temporary unless named; a named one is kept, and used again as it is.
"""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from curate.production.watch import Watch
from curate.status import read_status
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from db.hashing import json_hash
from db.models import Campaign, File, Rater, RewardModel, Run, utc_now

NUM_PROMPTS = 1_000
IMAGES_PER_PROMPT = 990
NUM_REAL = 10_000
NUM_RATINGS = 100_000
REPEATS = 5
SETTINGS = {"num_steps": 20, "guidance": 1.0, "sampler": "ddim", "eta": 0.0, "batch_size": 16}

# Rows in bulk: SQLite counts from 0 to :rows - 1 and makes ids and hashes of its own.
COUNTED = """
WITH RECURSIVE counted(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM counted WHERE i < :rows - 1)
"""
ID, HASH = "lower(hex(randomblob(16)))", "lower(hex(randomblob(32)))"
SYNTHETIC = f"""
INSERT INTO image (id, file_sha256, pixels_sha256, origin, prompt_id, shape, unit, version_id,
    run_id, run_index, seed, settings, settings_hash, item_key, created_at)
{COUNTED}
SELECT {ID}, :file, {HASH}, 'synthetic', json_extract(:prompts, '$[' || (i / :count) || ']'),
    '[1, 64, 64]', 'intensity', :version, :run, i, i % :count, :settings, :settings_hash, {HASH},
    :now FROM counted
"""
REAL = f"""
INSERT INTO image (id, file_sha256, pixels_sha256, origin, prompt_id, shape, unit, source_path,
    patient, split, created_at)
{COUNTED}
SELECT {ID}, :file, {HASH}, 'real', json_extract(:prompts, '$[0]'), '[1, 64, 64]', 'intensity',
    'images/' || i, 'patient ' || i / 2, 'train', :now FROM counted
"""
SCORES = """
INSERT INTO score (reward_model_id, image_id, mean, spread, created_at)
SELECT :model, id, 0.5, 0.1, :now FROM image
"""
ASSIGNMENTS = f"""
INSERT INTO assignment (id, campaign_id, rater_id, image_id, position, purpose, selection_method,
    inclusion_probability)
SELECT {ID}, :campaign, :rater, id, run_index, 'train', 'all', 1.0 FROM image
WHERE run_index < :rows
"""
RATINGS = f"""
INSERT INTO rating (id, assignment_id, criterion_id, scale_min, scale_max, value, revision, reasons,
    comment, rated_at, created_at)
SELECT {ID}, id, :criterion, 1, 3, 2, 1, '[]', '', :now, :now FROM assignment
"""


def main(folder: Path) -> None:
    if not (folder / "curate.json").exists():
        init_workspace(folder)
        fill(folder / "curate.db", add_parents(folder))
    size = (folder / "curate.db").stat().st_size / 1e9
    with open_workspace(folder) as ws:
        print(json.dumps(read_status(ws).to_json(), indent=2))
        print(f"{size:.2f} GB; status function, rows counted: {timed(lambda: read_status(ws))}")
        tell_the_end(ws)
        print(f"as a run leaves it, its end told: {timed(lambda: read_status(ws))}")
    command = [sys.executable, "cli.py", "status", "--json", "--workspace", str(folder.absolute())]
    root = Path(__file__).parents[1]
    print(f"whole command: {timed(lambda: subprocess.check_output(command, cwd=root))}")


def tell_the_end(ws: Workspace) -> None:
    """Write the state that `curate generate` leaves at the end of a run."""
    run = queries.runs.last_run(ws.session)
    assert run is not None
    done = queries.runs.num_items_done(ws.session, run)
    Watch(ws.folder, run.id, planned=run.num_items, done=0).end("finished", made=done)


def timed(call: Callable[[], object]) -> str:
    wall, cpu = [], []
    for _ in range(REPEATS):
        started, used = time.perf_counter(), cpu_seconds()
        call()
        wall.append(time.perf_counter() - started)
        cpu.append(cpu_seconds() - used)
    return f"{min(wall):.2f} to {max(wall):.2f} s, of which {min(cpu):.2f} s on a processor"


def cpu_seconds() -> float:
    """Return what this process and its finished children have used: a busy machine adds nothing."""
    return sum(os.times()[:4])


def add_parents(folder: Path) -> dict[str, Any]:
    """Add what the million rows hang on; return the values that their statements name."""
    with open_workspace(folder) as ws:
        ws.session.add(File(sha256="a" * 64, num_bytes=1, media_type="image/png"))
        ws.session.flush()
        version = queries.versions.add_generator_version(
            ws.session, generator_name="g", family="f", files={"unet": "a" * 64}, how_made="x"
        )
        prompts = [
            queries.prompts.get_or_add_prompt(ws.session, modality="OCT", text=str(number)).id
            for number in range(NUM_PROMPTS)
        ]
        run = Run(
            id=json_hash("run"),
            version_id=version.id,
            prompt_ids=prompts,
            count=IMAGES_PER_PROMPT,
            first_seed=0,
            num_items=NUM_PROMPTS * IMAGES_PER_PROMPT,
            settings=SETTINGS,
        )
        model = RewardModel(
            id="b" * 64, backbone="b", file_sha256="a" * 64, simulated=True, num_ratings=1
        )
        rubric, (criterion,) = queries.campaigns.default_rubric(ws.session, 1)
        rater = Rater(name="simulated", simulated=True)
        campaign = Campaign(
            name="c", rubric_id=rubric.id, seed=0, overlap=1, simulated=True, backend="simulated"
        )
        ws.session.add_all([run, model, rater, campaign])
    return {
        "file": "a" * 64,
        "prompts": json.dumps(prompts),
        "count": IMAGES_PER_PROMPT,
        "version": version.id,
        "run": run.id,
        "settings": json.dumps(SETTINGS),
        "settings_hash": json_hash(SETTINGS),
        "model": model.id,
        "campaign": campaign.id.hex,
        "rater": rater.id.hex,
        "criterion": criterion.id.hex,
        "now": utc_now().strftime("%Y-%m-%d %H:%M:%S.%f"),
    }


def fill(database: Path, values: dict[str, Any]) -> None:
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -1000000")  # KiB
    for statement, rows in (
        (SYNTHETIC, NUM_PROMPTS * IMAGES_PER_PROMPT),
        (REAL, NUM_REAL),
        (SCORES, 0),
        (ASSIGNMENTS, NUM_RATINGS),
        (RATINGS, 0),
    ):
        connection.execute(statement, values | {"rows": rows})
        connection.commit()
    connection.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
