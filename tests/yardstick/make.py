"""Make the stored workspace, with curate 0.2.0: run it with no other version, and not in tests.

The workspace is what an older curate left behind: every table has rows, a training and an RL step
were stopped in the middle, one loop waits at its gate and another for its round's ratings. Newer
code is measured by it (test_yardstick.py), so it stays as it is. How it was made:

    git worktree add /tmp/curate-0.2.0 9b6175b
    mkdir /tmp/empty && cd /tmp/empty
    export OMP_NUM_THREADS=1 LOGNAME=yardstick PYTHONPATH=/tmp/curate-0.2.0:CHECKOUT
    CHECKOUT/.venv/bin/python CHECKOUT/tests/yardstick/make.py CHECKOUT/tests/yardstick

0.2.0's modules are named in strings: newer versions have others.
"""

import json
import os
import shutil
import socket
import sqlite3
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image
from typer.testing import CliRunner

import cli
from tests.annotation.label_studio.fake import FakeLabelStudio
from tests.yardstick.machine import processor
from tests.yardstick.story import (
    IMAGES_FROM,
    MORE,
    PLAN,
    PROMPTS,
    RL_STEP,
    RL_STOPPED,
    TRAINING,
    TRAINING_STOPPED,
    USERS,
    Asked,
    asked,
    drawn,
    keep_labels,
    serving,
)

VERSION = "0.2.0"
WORKSPACE = Path("workspace")
NOT_KEPT = (  # what the cache can make again, and the key of addresses that nobody has
    "cache/versions",
    "cache/files",
    "image-service.key",
)


def run(*arguments: str, workspace: Path = WORKSPACE, status: int = 0) -> str:
    result = CliRunner().invoke(cli.app, [*arguments, "--workspace", str(workspace)])
    print(f"curate {' '.join(arguments)}\n{result.output}", file=sys.stderr)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.exit_code
    return result.stdout


@contextmanager
def stopped_after(module: str, num: int) -> Iterator[None]:
    """Let Ctrl-C come when so many checkpoints are written."""
    place = import_module(module)
    original: Callable[..., None] = place.save_checkpoint
    left = num

    def save(*arguments: Any) -> None:
        nonlocal left
        original(*arguments)
        left -= 1
        if not left:
            raise KeyboardInterrupt

    with patch.object(place, "save_checkpoint", save):
        yield


def real_images() -> None:
    """Import discs of eight patients."""
    folder = Path("real")
    folder.mkdir()
    lines = ["path,Text,modality,label,patient,split,source,licence"]
    y, x = np.mgrid[0:24, 0:24] / 24
    for number in range(8):
        radius = 0.1 + 0.04 * number
        disc = (x - 0.5) ** 2 + (y - 0.5) ** 2 < radius**2
        levels = (40 + 20 * number % 7 + 150 * disc + 30 * np.sin(9 * x + number)).astype(np.uint8)
        Image.fromarray(levels).save(folder / f"{number}.png")
        split = "val" if number > 5 else "train"
        lines.append(f"{number}.png,disc {number % 3},OCT,disc,p{number},{split},drawn,cc0-1.0")
    (folder / "real.csv").write_text("\n".join(lines) + "\n")
    run("import", "real/real.csv")


def base_version() -> str:
    """Make the first images with a tiny generator; return its version."""
    import_module("generators.tiny").tiny_generator(seed=0).save(Path("tiny"))
    Path("prompts.csv").write_text(PROMPTS)
    made = run(*PLAN, "--prompts", "prompts.csv", "--base", "tiny", "--json")
    version: str = json.loads(made)["version_id"]
    run(*MORE, "2")
    run(*MORE, "4", "--dry-run")  # planned and not made
    return version


def prompt_with_mask() -> None:
    """Add a prompt that has a condition: no command does."""
    queries = import_module("db.queries")
    with import_module("curate.workspace").open_workspace(WORKSPACE) as ws:
        mask = Path("real/0.png").read_bytes()
        [sha] = queries.add_files(ws.session, ws.store, [(mask, "image/png")])
        queries.get_or_add_prompt(
            ws.session, modality="OCT", text="drusen", record={"eye": 1}, conditions={"mask": sha}
        )


def grade(one: Asked) -> str:
    return str(1 + ((one.seed or 0) + (one.rater == "ben")) % 3)


def answer(fake: FakeLabelStudio, campaign: str, say: Callable[[Asked], str] = grade) -> None:
    for one in asked(WORKSPACE, campaign):
        fake.annotate(one.uid, {"quality": say(one)}, completed_by=USERS[one.rater])
    fake.tick()


def rated_by_people(fake: FakeLabelStudio) -> None:
    """Grades and preferences: revised, withdrawn, passed over, and one that is none."""
    for name in USERS:
        run("rate", "raters", "invite", f"{name}@example.org", "--name", name)
    fake.users[USERS["ben"]] = "ben@example.org"
    run("rate", "push", "--name", "first", "--controls", "0.2", "--images", "20", *IMAGES_FROM)
    fake.tick()
    answer(fake, "first")
    run("rate", "pull")
    fake.tick()
    revised, withdrawn, refused, passed = asked(WORKSPACE, "first")[:4]
    given = {one.uid: fake.task_of(one.uid)["annotations"][0] for one in (revised, refused)}
    fake.edit(revised.uid, given[revised.uid], {"quality": "3"})
    fake.edit(refused.uid, given[refused.uid], {"quality": "9"})
    fake.delete(withdrawn.uid)
    fake.delete(passed.uid)
    fake.annotate(passed.uid, {}, completed_by=USERS[passed.rater], was_cancelled=True)
    fake.tick()
    run("rate", "push", "--name", "pairs", "--pairs", "--images", "6", *IMAGES_FROM)


def main(out: Path) -> None:
    """Make everything in the current, empty folder; write what is kept to `out`."""
    assert import_module("curate").__version__ == VERSION
    assert not list(Path.cwd().iterdir()), "run it in an empty folder"
    fake = FakeLabelStudio()
    names = patch.object(socket, "gethostname", lambda: "yardstick")
    with names, serving(fake) as url:
        os.environ |= {"CURATE_LABEL_STUDIO_URL": url, "CURATE_LABEL_STUDIO_TOKEN": "none"}
        CliRunner().invoke(cli.app, ["init", str(WORKSPACE)], catch_exceptions=False)
        made = whole_story(fake)
        keep_labels(fake, Path("label-studio.json"))
    for name in NOT_KEPT:
        path = WORKSPACE / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    refuse_empty_tables()
    keep(out, made)


def whole_story(fake: FakeLabelStudio) -> dict[str, str]:
    real_images()
    base = base_version()
    prompt_with_mask()
    rated_by_people(fake)
    fake.tick()
    answer(fake, "pairs", lambda one: "left" if (one.seed or 0) % 2 else "tie")
    run("rate", "pull")
    run("rate", "simulate", "--images", "6", "--name", "simulated", "--origin", "both")
    model = json.loads(run("train-reward", "--min-ratings", "20", "--json"))["id"]
    run("score")
    run(*TRAINING, "--lora-rank", "2", "--version", base)
    release = json.loads(run("export", "--top-share", "0.5", "--with-real", "--json"))["release_id"]
    waiting_loops(fake, base)
    with stopped_after("generators.training.loop", TRAINING_STOPPED // 2):
        run(*TRAINING, "--version", base, status=130)
    with stopped_after("curate.rl.training", RL_STOPPED):
        run(*RL_STEP, "--version", base, "--reward-model", model, status=130)
    return {"base": base, "reward_model": model, "release": release}


def waiting_loops(fake: FakeLabelStudio, base: str) -> None:
    """Bring one loop to its gate, and another, taken by single commands, to its ratings."""
    options = ("--name", "people", "--raters", "label-studio", "--prompts", "prompts.csv")
    sizes = ("--version", base, "--images-per-prompt", "8", "--gate-images", "3", "--updates", "1")
    run("loop", *options, *sizes, *IMAGES_FROM)
    fake.tick()
    answer(fake, "people-round-1")
    said = run("loop", "--name", "people", *IMAGES_FROM)
    assert "round 1 (gate_pushed) waits" in said
    by_hand = ("--loop", "by-hand")
    run("generate", "--prompt", "OCT: drusen", "--count", "4", "--version", base, *by_hand)
    run("rate", "push", *by_hand, *IMAGES_FROM)
    fake.tick()


def refuse_empty_tables() -> None:
    tables = import_module("db.models").SQLModel.metadata.sorted_tables
    with closing(sqlite3.connect(WORKSPACE / "curate.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        counts = {
            table.name: connection.execute(f'SELECT count(*) FROM "{table.name}"').fetchone()[0]
            for table in tables
        }
    print(json.dumps(counts, indent=1), file=sys.stderr)
    assert all(counts.values()), [name for name, count in counts.items() if not count]


def keep(out: Path, made: dict[str, str]) -> None:
    status = run("status", "--json")
    (out / f"status-{VERSION}.json").write_text(status)
    with tarfile.open(out / f"workspace-{VERSION}.tar.gz", "w:gz") as archive:
        for name in ("workspace", "label-studio.json"):
            archive.add(name, filter=_anonymous)
    ends = ends_of_what_was_stopped(made)
    written = {"processor": processor(), **made, "ends": ends}
    (out / f"made-{VERSION}.json").write_text(json.dumps(written, indent=2) + "\n")
    keys = json.dumps(golden_keys(made), indent=1, ensure_ascii=False)
    (out / f"item_keys-{VERSION}.json").write_text(keys + "\n")


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def ends_of_what_was_stopped(made: dict[str, str]) -> dict[str, str]:
    """Return what 0.2.0 itself makes of the two that were stopped, on a copy."""
    copy = Path("copy")
    shutil.copytree(WORKSPACE, copy)
    which = ("--version", made["base"])
    training = run(*TRAINING, *which, "--json", workspace=copy)
    step = run(*RL_STEP, *which, "--reward-model", made["reward_model"], "--json", workspace=copy)
    return {
        "train-generator": json.loads(training)["version"],
        "rl-step": json.loads(step)["version"],
    }


def golden_keys(made: dict[str, str]) -> list[dict[str, Any]]:
    """Return what 0.2.0 calls things, by what they are."""
    queries, items = import_module("db.queries"), import_module("curate.production.items")
    sampling = import_module("generators.config").SamplingSettings
    pixels_hash = import_module("curate.pixels").pixels_hash
    settings = [
        {},
        {"num_steps": 3, "guidance": 7.5, "sampler": "dpm++"},
        {"eta": 0.5, "batch_size": 4, "dtype": "bfloat16"},
        {"decoder_dtype": "bfloat16", "channels_last": True, "compile": True},
    ]
    prompts: list[dict[str, Any]] = [
        {"modality": "OCT", "text": "drusen"},
        {"modality": "OCT", "text": "drusen", "label": "amd"},
        {"modality": "CXR", "text": "Erguß, 2 cm – “links”", "record": {"b": 1.5, "a": [None]}},
        {"modality": "CXR", "text": "", "conditions": {"mask": "0" * 64, "prior": "a" * 64}},
    ]
    trees = [
        {},
        {"unet/config.json": "1" * 64, "a": "2" * 64},
        {"a": "2" * 64, ".parent": "3" * 64},
    ]
    values = [None, 1, 1.0, 1e-7, True, "é\n", [], {"b": [1, {"z": None}], "a": ""}, ["real", "x"]]
    arrays = [{"dtype": name, "shape": [3, 5]} for name in ("uint8", "uint16")]
    arrays.append({"dtype": "uint8", "shape": [2, 4, 3]})
    found: list[dict[str, Any]] = []

    def add(what: str, of: Any, key: str) -> None:
        found.append({"what": what, "of": of, "key": key})

    for value in values:
        add("json", value, queries.json_hash(value))
    for tree in trees:
        add("tree", tree, queries.tree_hash(tree))
    for prompt in prompts:
        add("prompt", prompt, queries.prompt_hash(**prompt))
    for array in arrays:
        add("pixels", array, pixels_hash(drawn(array)))
    for one in settings:
        stored = sampling(**one).to_json()
        add("settings", one, items.settings_hash(stored))
        for seed in (0, 1, 2**40):
            prompt_id = queries.prompt_hash(**prompts[seed % 2])
            of = {"version_id": made["base"], "prompt_id": prompt_id, "seed": seed, "settings": one}
            key = items.item_key(made["base"], prompt_id, seed, stored)
            add("item", of, key)
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
