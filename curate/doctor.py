"""Is the workspace whole: do rows and files agree, byte for byte, and what can be put right.

Every file of the store is read and hashed. Repairing moves, and never deletes: unfinished,
unknown and damaged files go to a quarantine folder in the workspace. What was lost of synthetic
images is made again from their rows; real ones can be imported again.
"""

import datetime as dt
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from curate.progress import progress
from curate.verified import damaged_files
from curate.workspace import Workspace
from db import queries
from db.errors import StoreError
from db.store import UNFINISHED, file_key
from generators.embedded import WEIGHTS

BATCH_FILES = 1000
NUM_READERS = 8  # a remote store answers slowly, but many at once


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    kind: "missing" (a row without its file), "torn" (shorter than written), "altered" (other
    bytes), "unreadable" (disk or network fails), "orphan" (a file without a row), "temporary" (an
    unfinished file), "foreign" (no file of the store), "cache" (weights that are not as stored),
    "database" (SQLite's own check).
    """

    kind: str
    name: str  # the file's SHA-256 or its key in the store
    detail: str
    remakeable: bool = False  # only synthetic images use it
    repaired: bool = False

    def line(self) -> str:
        """Return the finding as one line."""
        done = "  [repaired]" if self.repaired else ""
        return f"{self.kind:<10} {self.name}  {self.detail}{done}"


@dataclass(frozen=True)
class DoctorReport:
    """What was looked at and what was found."""

    num_files: int  # rows
    findings: Sequence[Finding]
    quarantine: str | None = None  # where repairing moved things

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong, or all of it was repaired."""
        return all(finding.repaired for finding in self.findings)

    def lines(self) -> list[str]:
        """Return the report for a person to read: a line a finding, then a sum."""
        wrong = sum(not finding.repaired for finding in self.findings)
        lines = [finding.line() for finding in self.findings]
        if self.quarantine:
            lines.append(f"moved to {self.quarantine}")
        return [*lines, f"{self.num_files:,} files read, {wrong:,} things wrong"]

    def to_json(self) -> dict[str, Any]:
        """Return the report for a program to read."""
        return {"is_whole": self.is_whole, **asdict(self)}


def examine(ws: Workspace) -> DoctorReport:
    """Read every file, showing progress, and compare it with its row."""
    # The store first and the rows after it: what is being made meanwhile has its row by then.
    strays = list(ws.store.strays())
    without_row = set(ws.store.list())
    findings, num_files = [], queries.files.num_files(ws.session)
    with ThreadPoolExecutor(NUM_READERS) as readers, progress(num_files, "files") as advance:
        for rows in queries.files.files_in_batches(ws.session, BATCH_FILES):
            found = readers.map(lambda row: _examine_file(ws, *row), rows)
            findings += [_with_uses(ws, finding) for finding in found if finding is not None]
            without_row.difference_update(sha256 for sha256, _ in rows)
            advance(len(rows))
    findings += [
        Finding("orphan", sha256, "no row knows this file")
        for sha256 in sorted(without_row)
        if not queries.files.has_file(ws.session, sha256)
    ]
    findings += _stray_findings(strays, set(ws.store.strays()))
    findings += _cache_findings(ws)
    findings += [
        Finding("database", "-", problem) for problem in queries.audit.database_problems(ws.session)
    ]
    return DoctorReport(num_files, findings)


def repair(ws: Workspace, report: DoctorReport) -> DoctorReport:
    """Move what does not belong into a quarantine folder; the workspace must be opened `alone`.

    A damaged file is moved too. A synthetic image whose file is lost is made again from its row
    and kept if its bytes are the same; any other stays a finding, its place free for them.
    """
    folder = ws.folder / "quarantine" / f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S.%fZ}"
    findings = [_repair(ws, finding, folder) for finding in report.findings]
    # Put weights back that this installation of curate carries with the very same bytes.
    carried = {
        hashlib.sha256(path.read_bytes()).hexdigest(): path
        for path in WEIGHTS.rglob("*")
        if path.is_file()
    }

    def restored(finding: Finding) -> Finding:
        if finding.kind not in ("missing", "torn", "altered") or finding.name not in carried:
            return finding
        ws.store.put_file(carried[finding.name])
        detail = f"{finding.detail}; restored from the weights that ship with curate"
        return replace(finding, detail=detail.removeprefix("; "), repaired=True)

    findings = _make_again(ws, [restored(finding) for finding in findings])
    return replace(report, findings=findings, quarantine=str(folder) if folder.exists() else None)


def _cache_findings(ws: Workspace) -> Iterator[Finding]:
    """Look at the weights in the cache: a version is opened from there."""
    for version in queries.versions.versions(ws.session):
        folder = ws.cache / "versions" / version.id
        files = queries.versions.version_files(ws.session, version.id)
        if folder.exists():
            for path in damaged_files(ws, {folder / name: sha for name, sha in files.items()}):
                name = path.relative_to(ws.folder).as_posix()
                yield Finding("cache", name, "not as stored; filled again when it is next opened")


def _make_again(ws: Workspace, findings: Sequence[Finding]) -> list[Finding]:
    lost = [finding.name for finding in findings if finding.remakeable]
    if not lost:
        return list(findings)
    from curate.release.remake import remake_files  # here: it loads torch

    with progress(len(lost), "images made again") as advance:
        problems = remake_files(ws, lost, advance)
    made = []
    for finding in findings:
        problem = problems.get(finding.name)
        told = "made again, the same bytes" if problem is None else problem
        again = replace(
            finding,
            detail=f"{finding.detail}; {told}",
            repaired=finding.repaired or problem is None,
        )
        made.append(again if finding.remakeable else finding)
    return made


def _examine_file(ws: Workspace, sha256: str, num_bytes: int) -> Finding | None:
    if not ws.store.exists(sha256):
        return Finding("missing", sha256, "")
    try:
        found_bytes, found_sha256 = ws.store.measure(sha256)
    except StoreError as error:
        return Finding("unreadable", sha256, str(error))
    if found_bytes < num_bytes:
        return Finding("torn", sha256, f"{found_bytes} of {num_bytes} bytes are there")
    if found_sha256 != sha256:
        return Finding("altered", sha256, f"its bytes hash to {found_sha256[:12]}")
    return None


def _with_uses(ws: Workspace, finding: Finding) -> Finding:
    uses = queries.files.uses_of_file(ws.session, finding.name)
    remakeable = bool(uses) and all(use.startswith("synthetic") for use in uses)
    advice = "restore it from a backup of the store"
    if remakeable:
        advice = "can be made again: `curate doctor --repair`"
    elif all(use.startswith("real image") for use in uses):
        advice = "the same `curate import` again restores it"
    elif any("of generator version" in use for use in uses):
        advice = (
            "`curate doctor --repair` restores the weights that ship with the curate that made "
            "them; others from a backup, or by the same `--base` again"
        )
    parts = [finding.detail, *(uses or ["used by nothing"]), advice if uses else ""]
    return replace(finding, detail="; ".join(filter(None, parts)), remakeable=remakeable)


def _stray_findings(before: Sequence[str], after: set[str]) -> Iterator[Finding]:
    for key in before:
        if key in after:  # else another command has finished it meanwhile
            if Path(key).parts[0] == UNFINISHED:
                yield Finding("temporary", key, "left by a command that was killed")
            else:
                yield Finding("foreign", key, "not put there by curate")


def _repair(ws: Workspace, finding: Finding, folder: Path) -> Finding:
    if finding.kind in ("temporary", "foreign"):
        ws.store.move_out(finding.name, folder)
        return replace(finding, repaired=True)
    if finding.kind == "orphan":
        ws.store.move_out(file_key(finding.name), folder)
        return replace(finding, repaired=True)
    if finding.kind == "cache":
        shutil.rmtree(ws.cache / "versions" / Path(finding.name).parts[2], ignore_errors=True)
        return replace(finding, detail="not as stored; removed", repaired=True)
    if finding.kind in ("torn", "altered"):
        ws.store.move_out(file_key(finding.name), folder)
        return replace(finding, detail=f"{finding.detail}; moved to {folder}")
    return finding
