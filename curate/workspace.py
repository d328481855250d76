"""A folder, or a database URL and a storage URL, as an open workspace.

Layout: curate.json (the settings), curate.db, files/, cache/, releases/, reports/.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from curate.errors import CurateError
from db.backup import require_whole
from db.engine import (
    RESTORE,
    Engine,
    Session,
    make_engine,
    make_engine_to_read,
    migrate,
    open_dry_session,
    open_session,
    require_tables,
)
from db.errors import StoreError
from db.store import FileStore, open_store

SETTINGS = "curate.json"
DATABASE = "curate.db"  # where the settings name none
FORMAT = 1
FOLDERS = ("cache", "releases", "reports")


@dataclass(frozen=True)
class WorkspaceSettings:
    """Where rows and files are; None means inside the folder, which may then be moved.

    Passwords do not belong here: PostgreSQL reads `~/.pgpass`, S3 its usual environment.
    """

    database_url: str | None = None  # postgresql://user@host/name
    storage_url: str | None = None  # s3://bucket/prefix
    # what is generated has noise by prompt and seed; workspaces begun before do not say it
    own_noise: bool = False


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
    settings = WorkspaceSettings(database_url, storage_url, own_noise=True)
    if (root / SETTINGS).exists():
        if replace(read_settings(root), own_noise=True) != settings:
            raise CurateError(
                f"{root} is a workspace already, with other settings. "
                f"Change them in {root / SETTINGS}, or name another folder."
            )
        return
    try:
        for name in FOLDERS:
            (root / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CurateError(
            f"Cannot make a workspace in {root}: {error.strerror}. Name a folder you may write to."
        ) from error
    if database_url is None:  # rows name raters and their addresses: for the owner's eyes
        (root / DATABASE).touch(mode=0o600)
    with _opened(root, settings, new=True):
        text = json.dumps({"format": FORMAT, **asdict(settings)}, indent=2) + "\n"
        (root / SETTINGS).write_text(text, encoding="utf-8")


def nearest_workspace(folder: Path) -> Path:
    """Return the folder that was named; of the current one, the workspace that it lies in.

    As git looks for its repository: here, then in every folder above.
    """
    if folder != Path("."):
        return folder
    here = Path.cwd()
    above = (parent for parent in here.parents if (parent / SETTINGS).is_file())
    return folder if (here / SETTINGS).is_file() else next(above, folder)


@contextmanager
def open_workspace(folder: Path | str, *, alone: bool = False) -> Iterator[Workspace]:
    """Open a workspace, its tables brought up to date; what is pending is committed at a clean end.

    An error or Ctrl-C inside takes back what was not committed. `alone` refuses while another
    command of this machine has the workspace open, and makes later ones wait.
    """
    root = _root_of(folder)
    with _locked(root, alone), _opened(root, read_settings(root)) as workspace:
        yield workspace
        workspace.session.commit()


@contextmanager
def read_workspace(folder: Path | str) -> Iterator[Workspace]:
    """Open a workspace for reading: no lock, no migration, and a database that takes no row."""
    root = _root_of(folder)
    settings = read_settings(root)
    engine = make_engine_to_read(settings.database_url or f"sqlite:///{root / DATABASE}")
    try:
        with open_session(engine) as session:
            cache = root / "cache"
            store = open_store(settings.storage_url or root / "files", cache=cache / "files")
            yield Workspace(root, session, store, cache, settings)
    finally:
        engine.dispose()


@contextmanager
def dry_workspace(folder: Path | str) -> Iterator[Workspace]:
    """Open a workspace to see what a command would do: every row is as before at the end.

    Files below `cache/` may come: they are computed once, and the command itself needs them.
    """
    root = _root_of(folder)
    settings = read_settings(root)
    url = settings.database_url or f"sqlite:///{root / DATABASE}"
    make_engine_to_read(url).dispose()  # refuses tables that would have to be migrated first
    engine = make_engine(url)
    try:
        with _locked(root, False), open_dry_session(engine) as session:
            cache = root / "cache"
            store = open_store(settings.storage_url or root / "files", cache=cache / "files")
            yield Workspace(root, session, store, cache, settings)
    finally:
        engine.dispose()


def _root_of(folder: Path | str) -> Path:
    root = Path(folder).absolute()
    if not (root / SETTINGS).is_file():
        raise CurateError(
            f"No workspace in {root}: it has no {SETTINGS}. Make one with `curate init {folder}`, "
            "or name another with `--workspace`."
        )
    return root


@contextmanager
def _opened(root: Path, settings: WorkspaceSettings, *, new: bool = False) -> Iterator[Workspace]:
    cache = root / "cache"
    store = open_store(settings.storage_url or root / "files", cache=cache / "files")
    engine = make_engine(settings.database_url or f"sqlite:///{root / DATABASE}")
    try:
        with _explained_damage(engine):
            if not new:
                require_tables(engine)
            migrate(engine)
            with open_session(engine) as session:
                yield Workspace(root, session, store, cache, settings)
    finally:
        engine.dispose()


@contextmanager
def _explained_damage(engine: Engine) -> Iterator[None]:
    """Say that the database is damaged where that is why a row could not be read.

    A flipped byte can make a value that no row of curate has: bytes that are no text, a wrong id.
    """
    try:
        yield
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        if engine.dialect.name == "sqlite":
            engine.dispose()
            try:
                require_whole(Path(str(engine.url.database)))
            except StoreError as damage:
                raise StoreError(f"The database is damaged: {damage} {RESTORE}") from error
        raise


@contextmanager
def locked_workspace(folder: Path | str) -> Iterator[Path]:
    """Give the folder of a workspace that no other command has open, its database unread."""
    root = _root_of(folder)
    with _locked(root, alone=True):
        yield root


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


def read_settings(root: Path) -> WorkspaceSettings:
    """Return what a workspace's settings file says. Raises CurateError where it says nothing."""
    path = root / SETTINGS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.pop("format") != FORMAT:
            raise ValueError("another format; upgrade with `pip install -U curate-images`")
        return WorkspaceSettings(**found)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CurateError(
            f"{path} cannot be read ({error}). It needs format {FORMAT}, database_url and "
            "storage_url, each null or a URL; own_noise is true or false."
        ) from error
