"""What a place holds, so that two can be compared: rows, files and folders, and what may differ.

Ids that are drawn at random are replaced by what their rows say, and times by a word; everything
else is compared as it is, byte by byte.
"""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.storm_places import WORKSPACE, Place
from tests.children import ended

# What an undisturbed run may say differently when it is made twice: when it was, and how long it
# took. "table.column" of a row, "table.column.key" inside a column of JSON, "*" for every table.
MAY_DIFFER = (
    "*.created_at",
    "*.updated_at",
    "*.rated_at",
    "*.at",
    "generator_version.metrics.seconds",
    "generator_version.metrics.images_per_second",
    "generator_version.metrics.peak_bytes",
    "generator_version.metrics.updates.rollout_seconds",
    "generator_version.metrics.updates.training_seconds",
)
# Files whose bytes may differ, by their place below the folder: what a database or a cache writes
# for itself, and settings that name a place of its own.
BYTES_MAY_DIFFER = (
    r"ws/curate\.(db.*|json)",
    r"ws/cache/.*",
    r"where\.json",
)
# What may be there or not: files that are made and removed at any time.
MAY_BE_MISSING = (
    r"ws/curate\.db-(wal|shm)",
    r"ws/cache/verified\.json",
    r"ws/runs/[0-9a-f]{64}\.jsonl?",  # the log of each process, of a killed one too
)
TIMES = re.compile(
    r"\d{4}-?\d\d-?\d\d[T ]\d\d:?\d\d(:?\d\d(\.\d+)?)?(Z|\+00:00| UTC)?"
    r"|\d\d? [A-Z][a-z]+ \d{4}, \d\d:\d\d UTC"  # as a page says it
)
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
ROUNDS = 8  # of replacing ids: more than the longest chain of tables that name each other
TEXTS = (".html", ".json", ".md", ".csv", ".txt", ".jsonl")


def state_of(place: Place, folder: Path) -> dict[str, Any]:
    """Return what a place holds and what `curate doctor` says, found by a process of its own."""
    found = folder / f"{place.folder.name}.json"
    said = found.with_suffix(".txt")
    status = ended(_look, place, found, said=said)
    last = said.read_text(errors="replace").strip().splitlines()[-1:]
    said.unlink()
    if status != 0:
        return {"unseen": f"the place cannot be looked at: status {status} {last}"}
    state: dict[str, Any] = json.loads(found.read_text())
    found.unlink()
    return state


def _look(place: Place, found: Path) -> None:
    from curate.doctor import examine
    from curate.workspace import read_workspace

    os.environ.update(place.env)
    with read_workspace(place.workspace) as ws:
        said = [finding.line() for finding in examine(ws).findings]
        state = {
            "doctor": said,
            "rows": rows_of(ws.session),
            "store": sorted(ws.store.list()),
            "files": files_of(place.folder),
        }
    found.write_text(json.dumps(state))


def rows_of(session: Any) -> dict[str, dict[str, int]]:
    """Return {table: {a row's text: how often}}, random ids replaced by what their rows say."""
    import sqlalchemy as sa
    from sqlmodel import SQLModel

    import db.models  # noqa: F401  (fills the metadata)

    texts: list[tuple[str, str | None, str]] = []  # table, the row's own random id, its text
    for table in SQLModel.metadata.sorted_tables:
        for row in session.connection().execute(sa.select(table)).mappings():
            own = row.get("id")
            is_random = own is not None and ID.fullmatch(str(own)) is not None
            values = {name: value for name, value in row.items() if name != "id" or not is_random}
            text = json.dumps(_same(table.name, values), sort_keys=True, default=str)
            texts.append((table.name, str(own) if is_random else None, text))
    names: dict[str, str] = {}
    for _ in range(ROUNDS):
        names = {own: _hash(f"{where} {_named(text, names)}") for where, own, text in texts if own}
    rows: dict[str, Counter[str]] = {}
    for where, _, text in texts:
        rows.setdefault(where, Counter())[_named(text, names)] += 1
    return {table: dict(found) for table, found in rows.items()}


def _same(table: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what may differ, in columns and inside their JSON."""

    def kept(path: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {
                key: kept(f"{path}.{key}", inner)
                for key, inner in value.items()
                if not _may_differ(f"{path}.{key}")
            }
        return [kept(path, inner) for inner in value] if isinstance(value, list) else value

    return dict(kept(table, values))


def _may_differ(path: str) -> bool:
    table, _, rest = path.partition(".")
    return path in MAY_DIFFER or f"*.{rest}" in MAY_DIFFER


def _named(text: str, names: Mapping[str, str]) -> str:
    return ID.sub(lambda found: names.get(found.group(), "?"), text)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def files_of(folder: Path) -> dict[str, str | None]:
    """Return {place below the folder: SHA-256 of its bytes}, None where the bytes may differ.

    Times in texts and in names are replaced by a word. The store is told of elsewhere.
    """
    found: dict[str, str | None] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name.startswith(f"{WORKSPACE}/files/") or _is(name, MAY_BE_MISSING):
            continue
        content = None
        if not _is(name, BYTES_MAY_DIFFER):
            data = path.read_bytes()
            if path.suffix in TEXTS:
                data = TIMES.sub("TIME", data.decode(errors="replace")).encode()
            content = hashlib.sha256(data).hexdigest()
        found[TIMES.sub("TIME", name)] = content
    return found


def _is(name: str, patterns: tuple[str, ...]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Return in lines how a place differs from the one of an undisturbed run."""
    if "unseen" in found or "unseen" in expected:
        return [str(state["unseen"]) for state in (found, expected) if "unseen" in state]
    lines = [f"doctor: {line}" for line in found["doctor"] if line not in expected["doctor"]]
    if found.get("labels") != expected.get("labels"):
        lines.append(f"Label Studio holds {found.get('labels')}, not {expected.get('labels')}")
    for table in sorted({*found["rows"], *expected["rows"]}):
        have = Counter(found["rows"].get(table, {}))
        want = Counter(expected["rows"].get(table, {}))
        lost, more = want - have, have - want
        lines += [f"lost: {table}: {row[:300]}" for row in sorted(lost.elements())]
        lines += [f"more: {table}: {row[:300]}" for row in sorted(more.elements())]
    kept, to_keep = set(found["store"]), set(expected["store"])
    lines += [f"lost: file {sha256}" for sha256 in sorted(to_keep - kept)]
    lines += [f"more: file {sha256}" for sha256 in sorted(kept - to_keep)]
    here, there = found["files"], expected["files"]
    lines += [f"lost: {name}" for name in there if name not in here]
    lines += [f"more: {name}" for name in here if name not in there]
    lines += [
        f"other bytes: {name}" for name in here if name in there and here[name] != there[name]
    ]
    return lines
