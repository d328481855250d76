"""Faults that curate 0.2.0 had, put back into a process by small patches: the storm must find each.

A storm that cannot fail proves nothing. Each plant names the try that is expected to find it.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4


@dataclass(frozen=True)
class Plant:
    """A fault."""

    what: str
    put_back: Callable[[], None]
    kind: str  # of the tries that find it: "kill", "two", "full" or "harm"
    name: str  # the scene, pair or harm


def _other_exports_are_swept() -> None:
    """Take every other export's folder for a killed one's, and publish without reading it back."""
    from curate.release import publish

    @contextmanager
    def by_name(parent: Path, prefix: str = "") -> Iterator[Path]:
        parent.mkdir(parents=True, exist_ok=True)
        for left in parent.glob(f"{prefix}*"):
            shutil.rmtree(left, ignore_errors=True)
        folder = parent / f"{prefix}{uuid4().hex}"
        folder.mkdir()
        yield folder
        shutil.rmtree(folder, ignore_errors=True)

    publish.unfinished_folder = by_name  # type: ignore[attr-defined]
    publish._refuse_broken = lambda folder: None


def _manifests_name_any_path() -> None:
    from curate.release import manifest

    manifest.relative_name = lambda name: name  # type: ignore[attr-defined,assignment,return-value]


def _caches_are_trusted() -> None:
    from curate.production import versions

    versions.damaged_files = lambda ws, files: []  # type: ignore[attr-defined]


def _files_are_known_by_their_rows() -> None:
    from curate.importing import real_images
    from db.store import LocalStore

    real_images.is_whole = lambda ws, sha256: True  # type: ignore[attr-defined]
    LocalStore._is_whole = LocalStore.exists  # type: ignore[method-assign]


def _a_missing_database_is_made() -> None:
    from curate import workspace

    workspace.require_tables = lambda engine: None  # type: ignore[attr-defined]


def _a_sentinel_is_taken_twice() -> None:
    from curate.production.writer import Writer
    from db.engine import open_session

    def work(self: Any) -> None:
        try:
            with open_session(self._engine) as session:
                self._write_all(session)
        except BaseException as failure:  # noqa: B036
            self._failure = failure
            while self._queue.get() is not None:
                pass

    Writer._work = work  # type: ignore[method-assign]


def _verifying_reads_what_is_missing() -> None:
    from curate.release import verify

    verify._images_that_differ.__code__ = _reads_all_images.__code__


def _reads_all_images(folder: Path, manifest: Any, damaged: Any) -> Iterator[Any]:
    for image in manifest.images:
        (folder / image.path).read_bytes()
    yield from ()


def _the_latest_is_the_clocks() -> None:
    from db.queries import reward_models

    by_number = reward_models.reward_models

    def by_clock(session: Any, role: str | None = None) -> Any:
        return sorted(by_number(session, role), key=lambda model: model.created_at)

    reward_models.reward_models = by_clock


def _folders_appear_file_by_file() -> None:
    """Publish by copying to the final name, as if a rename did the same."""

    def copy(folder: Path, place: Path) -> None:
        if place.exists() and any(place.iterdir()):
            raise FileExistsError(str(place))
        shutil.copytree(folder, place, dirs_exist_ok=True)

    from curate.production import versions
    from curate.release import publish

    publish.publish_folder = copy  # type: ignore[attr-defined]
    versions.publish_folder = copy  # type: ignore[attr-defined]


def _rows_come_before_files() -> None:
    """Keep files only when the rows that name them are committed."""
    from sqlalchemy.engine.default import DefaultDialect

    from db.store import LocalStore

    put_many, do_commit = LocalStore.put_many, DefaultDialect.do_commit
    waiting: list[tuple[LocalStore, list[bytes]]] = []

    def put_later(self: LocalStore, items: Sequence[bytes]) -> list[str]:
        waiting.append((self, list(items)))
        return [hashlib.sha256(item).hexdigest() for item in items]

    def commit(self: Any, connection: Any) -> None:
        do_commit(self, connection)  # type: ignore[no-untyped-call]
        while waiting:
            put_many(*waiting.pop())

    LocalStore.put_many = put_later  # type: ignore[method-assign]
    DefaultDialect.do_commit = commit  # type: ignore[method-assign]


def _files_aside_have_random_names() -> None:
    """Write a page aside under a new name each time: what a killed process wrote stays."""
    from curate.report import page

    def replace_file(path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{uuid4().hex}.partial")
        aside.write_bytes(content)
        aside.replace(path)

    page.replace_file = replace_file  # type: ignore[attr-defined,assignment]


PLANTS = {
    "exports-swept": Plant(
        "an export removes what another is writing, and what is published is not read back",
        _other_exports_are_swept,
        "two",
        "export 90 % + export 30 %",
    ),
    "any-path": Plant(
        "`generate --from-manifest` writes where the manifest says",
        _manifests_name_any_path,
        "harm",
        "a manifest that leads out",
    ),
    "cache-trusted": Plant(
        "weights in the cache are opened without their hash",
        _caches_are_trusted,
        "harm",
        "weights in the cache altered",
    ),
    "known-by-row": Plant(
        "an image is known by its row, whatever became of its file",
        _files_are_known_by_their_rows,
        "harm",
        "a real image's file lost, another altered",
    ),
    "database-made": Plant(
        "a database that is gone is made anew",
        _a_missing_database_is_made,
        "harm",
        "the database gone",
    ),
    "sentinel-twice": Plant(
        "a full disk in the last batch is waited for ever",
        _a_sentinel_is_taken_twice,
        "full",
        "generate",
    ),
    "verify-crashes": Plant(
        "`export --verify` reads what is missing",
        _verifying_reads_what_is_missing,
        "harm",
        "a release with an image gone and one altered",
    ),
    "latest-by-clock": Plant(
        "the latest reward model is the one with the latest clock",
        _the_latest_is_the_clocks,
        "harm",
        "the clock set back",
    ),
    "file-by-file": Plant(
        "a release appears file by file",
        _folders_appear_file_by_file,
        "kill",
        "export",
    ),
    "rows-first": Plant(
        "rows are committed before their files are there",
        _rows_come_before_files,
        "kill",
        "generate",
    ),
    "asides-stay": Plant(
        "what a killed report wrote aside stays for ever",
        _files_aside_have_random_names,
        "kill",
        "report",
    ),
}
