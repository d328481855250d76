"""A folder, or a database URL and a storage URL, as an open workspace.

Layout: curate.json (the settings), curate.db, files/, cache/, releases/, reports/.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from curate.errors import CurateError
from db.engine import Session, make_engine, migrate, open_session
from db.store import FileStore, open_store

SETTINGS = "curate.json"
FORMAT = 1
FOLDERS = ("cache", "releases", "reports")


@dataclass(frozen=True)
class WorkspaceSettings:
    """Where rows and files are; None means inside the folder, which may then be moved.

    Passwords do not belong here: PostgreSQL reads `~/.pgpass`, S3 its usual environment.
    """

    database_url: str | None = None  # postgresql://user@host/name
    storage_url: str | None = None  # s3://bucket/prefix


@dataclass(frozen=True)
class Workspace:
    """What every part of the workflow works on."""

    folder: Path
    session: Session
    store: FileStore
    cache: Path  # may be deleted at any time
    settings: WorkspaceSettings


def init_workspace(
    folder: Path | str, *, database_url: str | None = None, storage_url: str | None = None
) -> None:
    """Make a workspace, or leave one with the same settings as it is.

    Its settings are written last, so that what failed half-way is no workspace.
    """
    root = Path(folder).absolute()
    settings = WorkspaceSettings(database_url, storage_url)
    if (root / SETTINGS).exists():
        if _read_settings(root) != settings:
            raise CurateError(
                f"{root} is a workspace already, with other settings. "
                f"Change them in {root / SETTINGS}, or name another folder."
            )
        return
    _make_folders(root)
    with _opened(root, settings):
        text = json.dumps({"format": FORMAT, **asdict(settings)}, indent=2) + "\n"
        (root / SETTINGS).write_text(text, encoding="utf-8")


@contextmanager
def open_workspace(folder: Path | str, *, alone: bool = False) -> Iterator[Workspace]:
    """Open a workspace, its tables brought up to date; what is pending is committed at a clean end.

    An error or Ctrl-C inside takes back what was not committed. `alone` refuses while another
    command of this machine has the workspace open, and makes later ones wait.
    """
    root = Path(folder).absolute()
    if not (root / SETTINGS).is_file():
        raise CurateError(
            f"No workspace in {root}: it has no {SETTINGS}. Make one with `curate init {folder}`, "
            "or name another with `--workspace`."
        )
    with _locked(root, alone), _opened(root, _read_settings(root)) as workspace:
        yield workspace
        workspace.session.commit()


@contextmanager
def _opened(root: Path, settings: WorkspaceSettings) -> Iterator[Workspace]:
    cache = root / "cache"
    store = open_store(settings.storage_url or root / "files", cache=cache / "files")
    engine = make_engine(settings.database_url or f"sqlite:///{root / 'curate.db'}")
    try:
        migrate(engine)
        with open_session(engine) as session:
            yield Workspace(root, session, store, cache, settings)
    finally:
        engine.dispose()


@contextmanager
def _locked(root: Path, alone: bool) -> Iterator[None]:
    with (root / SETTINGS).open("rb") as file:  # closing it gives the lock back, a crash too
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
        except BlockingIOError as error:
            raise CurateError(
                f"Another curate command is at work in {root}, this one needs it alone. "
                "Wait until it is done or stop it, then run this one again."
            ) from error
        yield


def _make_folders(root: Path) -> None:
    try:
        for name in FOLDERS:
            (root / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CurateError(
            f"Cannot make a workspace in {root}: {error.strerror}. Name a folder you may write to."
        ) from error


def _read_settings(root: Path) -> WorkspaceSettings:
    path = root / SETTINGS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.pop("format") != FORMAT:
            raise ValueError("another format; upgrade with `pip install -U curate-images`")
        return WorkspaceSettings(**found)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CurateError(
            f"{path} cannot be read ({error}). It needs format {FORMAT}, database_url and "
            "storage_url, each null or a URL."
        ) from error
