"""Archived things, and taking them out with their files where nothing needs them any more.

Rows go in one transaction. Which files go is written down before, so that a command that is killed
between rows and files is finished by the next one. The workspace must be opened `alone`.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.errors import CurateError, unknown_campaign
from curate.workspace import Workspace
from db import queries
from db.folders import replace_file
from db.models import File

JOURNAL = "pruning.json"  # in the cache: what a killed command had still to delete
IN_WORDS = {"generator_version": "generator version", "release_decision": "release decision"}


@dataclass(frozen=True)
class Pruned:
    """One archived thing: gone with its rows, or why it stays."""

    kind: str
    id: str
    name: str
    rows: dict[str, int]  # that go with it, by table
    held_by: dict[str, int]  # rows of others that need it, by table; none: it goes

    def line(self) -> str:
        """Return it for a person to read."""
        own = queries.archive.KINDS[self.kind].__tablename__
        told = self.held_by or {name: count for name, count in self.rows.items() if name != own}
        counts = ", ".join(
            f"{count:,} {IN_WORDS.get(name, name.replace('_', ' '))}{'s' if count != 1 else ''}"
            for name, count in told.items()
            if count
        )
        if self.held_by:
            return f"{self.kind} {self.name} stays: {counts} need it"
        return f"{self.kind} {self.name} goes{f' with {counts}' if counts else ''}"


@dataclass(frozen=True)
class Pruning:
    """What a pruning took out, or would."""

    things: Sequence[Pruned]
    num_files: int
    num_bytes: int
    dry_run: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        things = [{**vars(thing), "goes": not thing.held_by} for thing in self.things]
        return {**vars(self), "things": things}

    def lines(self) -> list[str]:
        """Return what happened for a person to read."""
        if not self.things:
            return ["Nothing is archived. `curate archive version ID` puts one aside."]
        freed = f"{self.num_files:,} files, {self.num_bytes / 1e6:,.1f} MB"
        done = "would be deleted" if self.dry_run else "deleted"
        return [*(thing.line() for thing in self.things), f"{freed} {done}"]


def archive(ws: Workspace, kind: str, name: str, *, undo: bool = False) -> str:
    """Put one thing aside, or take it back; return what to say of it."""
    id_, shown = _found(ws, kind, name)
    changed = queries.archive.set_archived(ws.session, kind, id_, archived=not undo)
    if changed:
        details = {"kind": kind, "id": id_, "undo": undo}
        queries.audit.record_event(ws.session, "archive", details)  # commits the row with it
    state = "not archived" if undo else "archived"
    return f"{kind} {shown} is {'' if changed else 'already '}{state}"


def prune(ws: Workspace, *, dry_run: bool) -> Pruning:
    """Take out the archived things that nothing needs, and the files that then nothing names.

    A thing that only other archived things need goes with them. A dry run changes nothing.
    """
    if not dry_run:
        _finish(ws)
    waiting = [
        (kind, id_)
        for kind in queries.archive.KINDS
        for id_ in reversed(queries.archive.archived_ids(ws.session, kind))
    ]
    gone: dict[tuple[str, str], Pruned] = {}
    files: set[str] = set()
    held: dict[tuple[str, str], Pruned] = {}
    folders: dict[str, str] = {}
    went = True
    while went:
        went = False
        for kind, id_ in [one for one in waiting if one not in gone]:
            found = queries.archive.removal_of(ws.session, kind, id_)
            thing = Pruned(kind, id_, _shown(ws, kind, id_), dict(found.rows), dict(found.held_by))
            held[kind, id_] = thing
            if not thing.held_by:
                folders |= _folder_of(ws, kind, id_)
                queries.archive.remove(ws.session, kind, id_)
                gone[kind, id_], went = thing, True
                files |= found.files
    unused = queries.archive.remove_unused_files(ws.session, files)
    things = [gone.get(one, held[one]) for one in waiting]
    done = Pruning(things, len(unused), sum(unused.values()), dry_run)
    if dry_run:
        ws.session.rollback()
        return done
    if gone:
        journal = {"files": sorted(unused), "folders": folders}
        replace_file(ws.cache / JOURNAL, json.dumps(journal).encode())
        details = {"things": [f"{thing.kind} {thing.id}" for thing in gone.values()]}
        queries.audit.record_event(ws.session, "prune", details)  # commits the rows with it
        _finish(ws)
    return done


def _finish(ws: Workspace) -> None:
    """Delete the files and folders of a pruning whose rows are gone."""
    path = ws.cache / JOURNAL
    if not path.is_file():
        return
    journal = json.loads(path.read_bytes())
    for sha256 in journal["files"]:
        if ws.session.get(File, sha256) is None and ws.store.exists(sha256):
            ws.store.delete(sha256)
    for row, folder in journal["folders"].items():
        kind, _, id_ = row.partition(" ")
        if ws.session.get(queries.archive.KINDS[kind], id_) is None:
            shutil.rmtree(ws.folder / folder, ignore_errors=True)
    path.unlink()


def _folder_of(ws: Workspace, kind: str, id_: str) -> dict[str, str]:
    """Return {kind and id: the workspace's own folder of it}; what lies elsewhere is left alone."""
    if kind == "version":
        return {f"{kind} {id_}": str(Path(ws.cache.name) / "versions" / id_)}
    if kind == "release" and (ws.folder / "releases" / id_[:12]).is_dir():
        return {f"{kind} {id_}": str(Path("releases") / id_[:12])}
    return {}


def _shown(ws: Workspace, kind: str, id_: str) -> str:
    if kind == "campaign":
        return next(c.name for c in queries.campaigns.campaigns(ws.session) if str(c.id) == id_)
    return id_[:12]


def _found(ws: Workspace, kind: str, name: str) -> tuple[str, str]:
    """Return the id of the row that is meant, and how to speak of it."""
    if kind == "version":
        id_ = queries.versions.find_version(ws.session, name).id
    elif kind == "run":
        id_ = queries.runs.find_run(ws.session, name).id
    elif kind == "campaign":
        row = queries.campaigns.find_campaign(ws.session, name)
        if row is None:
            known = queries.campaigns.campaigns(ws.session)
            raise unknown_campaign(name, [campaign.name for campaign in known])
        return str(row.id), row.name
    else:
        rows = queries.releases.releases(ws.session)
        found = [row.id for row in rows if row.name == name or row.id.startswith(name)]
        if len(found) != 1:
            shown = ", ".join(f"{row.name} ({row.id[:12]})" for row in rows) or "none"
            raise CurateError(f"{len(found) or 'No'} releases are named {name!r}. Known: {shown}.")
        [id_] = found
    return id_, id_[:12]
