"""Kills, full disks, two commands at once, damage: nothing lost, nothing doubled, nothing false.

    python -m benchmarks.storm --seed 0 --kills 40 --record storm.jsonl --resume
    python -m benchmarks.storm --backend postgres-s3 --kills 20 --record storm.jsonl --resume
    python -m benchmarks.storm --plant all

A try runs one command of a small workspace and ends its process by SIGKILL: at a random moment, or
before or after the n-th rename, replace, fsync, unlink, mkdir or commit; in three of ten tries
three times in a row. Then the same command runs to its end, and what there is has to equal what an
undisturbed run leaves: every row, every file's bytes, every name in every folder; `curate doctor`
has to find nothing. What may differ is a list in storm_compare.py. Then: the disk full at several
levels, two commands of which one stands still in the middle of the other's work, and damage
(storm_harms.py). `--plant` puts faults that curate once had back: the storm has to find them.

Each try is a line of JSON in the record. Exits with 1 where anything was lost, doubled or false, or
a plant not found.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.storm_compare import differences, state_of
from benchmarks.storm_harms import HARMS, OF_SQLITE, small_disk
from benchmarks.storm_places import SIDES, Death, opened
from benchmarks.storm_plants import PLANTS
from benchmarks.storm_scenes import (
    BY_NAME,
    PUSH,
    SMALL,
    TRAINING,
    Setting,
    Stage,
    Words,
    answering,
    copied,
    told,
)

THREE_IN_A_ROW = 0.3  # share of the tries
AT_RANDOM = 0.4  # share of the kills that come after a random time, not at an operation
LEVELS = (0.02, 0.3, 0.6, 0.95)  # of the room that a command needs, how much a disk has left
STANDS_STILL = 10  # seconds that a second command may wait for one that stands still
MOST_TRIES_MISSED = 4  # times the kills that are asked for: the others came too late
OTHER_SEEDS: Words = (
    *("generate", "--prompts", "prompts.csv", "--count", "4", "--seed", "100"),
    *(*SMALL, "--base", "base"),
)


@dataclass(frozen=True)
class Pair:
    """Two commands at once, from where a scene begins; in either order they leave the same."""

    before: str
    one: Words
    other: Words


def _twice(name: str) -> Pair:
    return Pair(name, BY_NAME[name].words, BY_NAME[name].words)


PAIRS = {
    "import twice": _twice("import"),
    "import + generate": Pair("import", BY_NAME["import"].words, OTHER_SEEDS),
    "generate twice": _twice("generate"),
    "generate + other seeds": Pair("generate", BY_NAME["generate"].words, OTHER_SEEDS),
    "train-reward twice": _twice("train-reward"),
    "score twice": _twice("score"),
    "export 90 % + export 30 %": Pair(
        "export", ("export", "--top-share", "0.9"), ("export", "--top-share", "0.3")
    ),
    "export twice": _twice("export"),
    "save twice": _twice("save"),
    "train-generator + generate": Pair("train-generator", TRAINING, OTHER_SEEDS),
    "push twice": Pair("push", PUSH, PUSH),
    "pull twice": _twice("pull"),
}


def deaths(setting: Setting, rng: random.Random) -> list[Death]:
    """Draw when a command dies: once, or three times in a row."""
    counts = sorted(setting.ended.counts.items())
    drawn = []
    for _ in range(3 if rng.random() < THREE_IN_A_ROW else 1):
        if rng.random() < AT_RANDOM or not counts:
            drawn.append(Death("seconds", rng.uniform(0, setting.ended.seconds)))
        else:
            operation, count = rng.choice(counts)
            drawn.append(Death(operation, rng.randint(1, count), rng.choice(SIDES)))
    return drawn


def kill(stage: Stage, name: str, drawn: Sequence[Death], plants: Sequence[str]) -> dict[str, Any]:
    """Kill a scene's command, run it to its end, and compare."""
    setting = stage.setting(name)
    place, labels = stage.place_of(setting.before), copied(setting.labels)
    with answering(setting.scene, labels) as (labels, env):
        ends = [
            place.run(setting.scene.words, death=death, plants=plants, env=env) for death in drawn
        ]
        last = place.run(setting.scene.words, plants=plants, env=env)
    lines = [] if last.status == 0 else [f"again: status {last.status}: {last.said[-300:]}"]
    found = state_of(place, stage.root) | told(labels)
    lines += differences(found, setting.expected)
    stage.backend.drop(place)
    kills = [str(d) for d, end in zip(drawn, ends, strict=True) if end.is_killed]
    return {"kills": kills, "missed": len(drawn) - len(kills), "failures": lines}


def two(stage: Stage, name: str, rng: random.Random, plants: Sequence[str]) -> dict[str, Any]:
    """Let one command stand still at some operation while another runs, then both end."""
    pair = PAIRS[name]
    setting = stage.setting(pair.before)
    key = f"two: {name}"
    if key not in stage.controls:
        stage.controls[key] = _one_after_the_other(stage, setting, pair)
    expected, counts = stage.controls[key]
    operations = sorted(o for o in counts if o != "commit") or ["commit"]
    operation = rng.choice(operations)
    still = Death(operation, rng.randint(1, counts[operation]), rng.choice(SIDES), signal.SIGSTOP)
    place, labels = stage.place_of(setting.before), copied(setting.labels)
    with answering(setting.scene, labels) as (labels, env):
        first = place.start(pair.one, death=still, plants=plants, env=env)
        first.stands_still(STANDS_STILL)
        second = place.start(pair.other, plants=plants, env=env)
        second.child.join(STANDS_STILL)
        if first.child.is_alive():
            os.kill(first.child.pid, signal.SIGCONT)
        ends = [second.end(), first.end()]
        lines = [f"{e.said.strip().splitlines()[-1]}" for e in ends if e.has_traceback or e.hangs]
        again = [place.run(words, plants=plants, env=env) for words in (pair.one, pair.other)]
    lines += [f"again: status {end.status}: {end.said[-300:]}" for end in again if end.status]
    lines += differences(state_of(place, stage.root) | told(labels), expected)
    stage.backend.drop(place)
    return {"still": str(still), "statuses": [e.status for e in ends], "failures": lines}


def _one_after_the_other(stage: Stage, setting: Setting, pair: Pair) -> tuple[Any, Any]:
    place, labels = stage.place_of(setting.before), copied(setting.labels)
    with answering(setting.scene, labels) as (labels, env):
        first = place.run(pair.one, env=env)
        second = place.run(pair.other, env=env)
    if first.status or second.status:
        raise RuntimeError(f"undisturbed: {first} {second}")
    expected = state_of(place, stage.root) | told(labels)
    stage.backend.drop(place)
    return expected, first.counts


def full(stage: Stage, name: str, level: float, plants: Sequence[str]) -> dict[str, Any]:
    """Run a scene's command on a disk that is full too soon, then with room."""
    setting = stage.setting(name)
    grown = max(_size(setting.after.folder) - _size(setting.before.folder), 1 << 16)
    num_bytes = _size(setting.before.folder) + int(level * grown)
    stage.num_places += 1
    folder = stage.root / f"disk{stage.num_places}"
    labels = copied(setting.labels)
    try:
        place = small_disk(stage, folder, num_bytes + (1 << 16), setting.before)
        with answering(setting.scene, labels) as (labels, env):
            done = place.run(setting.scene.words, plants=plants, env=env, longest=120)
            subprocess.run(["mount", "-o", "remount,size=4g", str(folder)], check=True)
            again = place.run(setting.scene.words, plants=plants, env=env)
        lines = ["hangs"] if done.hangs else []
        if done.has_traceback:
            lines.append(f"traceback: {done.said.strip().splitlines()[-1][:300]}")
        if again.status != 0:
            lines.append(f"again: status {again.status}: {again.said[-300:]}")
        lines += differences(state_of(place, stage.root) | told(labels), setting.expected)
    finally:
        subprocess.run(["umount", str(folder)], check=False)
    return {"level": level, "status": done.status, "failures": lines}


def _size(folder: Path) -> int:
    """Return what a tmpfs needs for a folder: whole pages."""
    page = 4096
    return sum(page + -(-path.lstat().st_size // page) * page for path in folder.rglob("*"))


def one_try(
    stage: Stage, kind: str, name: str, number: int, seed: int, plants: Sequence[str] = ()
) -> dict[str, Any]:
    """Return what came of the n-th try of a kind."""
    rng = random.Random(f"{seed} {stage.backend.name} {kind} {name} {number}")
    if kind == "kill" and plants:
        return kill(stage, name, [every_death(stage.setting(name))[number]], plants)
    if kind == "kill":
        return kill(stage, name, deaths(stage.setting(name), rng), plants)
    if kind == "two":
        return two(stage, name, rng, plants)
    if kind == "full":
        return full(stage, name, LEVELS[number], plants)
    return {"failures": HARMS[name](stage, plants)}


def every_death(setting: Setting) -> list[Death]:
    """Return the moments before and after every operation of a command, the last ones first."""
    return [
        Death(operation, number, side)
        for operation, count in sorted(setting.ended.counts.items())
        for number in range(count, 0, -1)
        for side in SIDES
    ]


@dataclass
class Record:
    """Tries as lines of JSON, in a file that several storms append to."""

    path: Path | None
    lines: list[dict[str, Any]]

    @classmethod
    def opened(cls, path: Path | None, resume: bool) -> "Record":
        """Read what is there, which only a storm that resumes may add to."""
        if path is None or not path.is_file():
            return cls(path, [])
        if not resume:
            raise typer.BadParameter(f"{path} is there: go on with --resume, or name another")
        return cls(path, [json.loads(line) for line in path.read_text().splitlines()])

    def of(self, backend: str, kind: str, name: str, seed: int) -> list[dict[str, Any]]:
        """Return the tries there were."""
        key = (backend, kind, name, seed)
        return [
            line
            for line in self.lines
            if key == tuple(line[k] for k in ("on", "kind", "of", "seed"))
        ]

    def add(self, line: dict[str, Any]) -> None:
        """Append a try."""
        self.lines.append(line)
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")

    def table(self) -> list[str]:
        """Return a line for each kind, command and backend: tries, kills, failures."""
        rows: dict[tuple[str, str, str], Counter[str]] = {}
        for line in self.lines:
            row = rows.setdefault((line["on"], line["kind"], line["of"]), Counter())
            row["tries"] += 1
            row["kills"] += len(line.get("kills", ()))
            row["failures"] += bool(line["failures"])
        lines = [
            f"{on:<12} {kind:<5} {of:<46} {row['tries']:>5} tries {row['kills']:>5} kills "
            f"{row['failures']:>3} failed"
            for (on, kind, of), row in sorted(rows.items())
        ]
        total = sum(rows.values(), Counter())
        return [
            *lines,
            f"{total['tries']} tries, {total['kills']} kills, {total['failures']} failed",
        ]


def storm(
    stage: Stage, record: Record, kinds: Sequence[str], only: Sequence[str], kills: int, seed: int
) -> None:
    """Blow over every scene in turn, a try each, until all have had enough."""
    wanted: dict[str, tuple[Sequence[str], int]] = {
        "harm": ([h for h in HARMS if stage.backend.name == "sqlite" or h not in OF_SQLITE], 1),
        "full": (list(BY_NAME) if stage.backend.name == "sqlite" else [], len(LEVELS)),
        "two": (list(PAIRS), max(1, kills // 8)),
        "kill": (list(BY_NAME), kills * MOST_TRIES_MISSED),
    }
    for kind in kinds:
        names, most = wanted[kind]
        for number in range(most):
            for name in names:
                done = record.of(stage.backend.name, kind, name, seed)
                landed = sum(len(line.get("kills", ())) for line in done)
                if (
                    (only and name not in only)
                    or len(done) > number
                    or (kind == "kill" and landed >= kills)
                ):
                    continue
                about = {"on": stage.backend.name, "kind": kind, "of": name, "seed": seed}
                began = time.monotonic()
                came = one_try(stage, kind, name, number, seed)
                took = round(time.monotonic() - began, 1)
                record.add({**about, "try": number, **came, "wall_s": took})
                for failure in came["failures"]:
                    print(f"{stage.backend.name} {kind} {name} {number}: {failure}", flush=True)


def find_plants(stage: Stage, names: Sequence[str]) -> list[str]:
    """Put faults back one by one; print by which try each was found, return those that were not."""
    missed = []
    for name in names:
        plant = PLANTS[name]
        tries = {"kill": 200, "two": 40, "full": len(LEVELS), "harm": 1}[plant.kind]
        if plant.kind == "kill":
            tries = min(tries, len(every_death(stage.setting(plant.name))))
        for number in range(tries):
            came = one_try(stage, plant.kind, plant.name, number, 0, (name,))
            if came["failures"]:
                print(f"{name}: found by {plant.kind} {plant.name}, try {number}: ", end="")
                print(came["failures"][0][:200], flush=True)
                break
        else:
            missed.append(name)
            print(f"{name}: NOT FOUND in {tries} tries ({plant.what})", flush=True)
    return missed


def main(
    seed: Annotated[int, typer.Option(help="Of the kills.")] = 0,
    kills: Annotated[int, typer.Option(help="Kills that hit, for each command.")] = 2,
    backend: Annotated[str, typer.Option(help="sqlite or postgres-s3.")] = "sqlite",
    kinds: Annotated[str, typer.Option(help="Kinds of tries.")] = "harm,full,two,kill",
    only: Annotated[str, typer.Option(help="Scenes, pairs or harms by name.")] = "",
    record: Annotated[Path | None, typer.Option(help="File of tries, a line of JSON each.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a record.")] = False,
    plant: Annotated[str, typer.Option(help="Put this fault back, or all, and find it.")] = "",
) -> None:
    """Blow, and print what came of it."""
    kept = Record.opened(record, resume)
    root = Path(tempfile.mkdtemp(prefix="storm-"))
    wanted = [kind for kind in kinds.split(",") if kind != "full" or os.geteuid() == 0]
    if len(wanted) < len(kinds.split(",")):
        print("a small disk needs root to be mounted: none was filled")
    try:
        with opened(backend) as servers:
            stage = Stage(root, servers)
            if plant:
                names = list(PLANTS) if plant == "all" else plant.split(",")
                sys.exit(bool(find_plants(stage, names)))
            storm(stage, kept, wanted, [n for n in only.split(",") if n], kills, seed)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print("\n".join(kept.table()))
    sys.exit(any(line["failures"] for line in kept.lines))


if __name__ == "__main__":
    typer.run(main)
