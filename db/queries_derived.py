"""What is computed once and kept: derived values in the store, by the hash of their origins."""

from collections.abc import Mapping, Sequence

from sqlmodel import Session, col, select

from db.models import DerivedFile, utc_now
from db.queries import MAX_IN, insert_new


def derived_files(session: Session, keys: Sequence[str]) -> dict[str, str]:
    """Return {key: SHA-256 of the file with its value} of those that are kept already."""
    found: dict[str, str] = {}
    for start in range(0, len(keys), MAX_IN):
        some = list(keys[start : start + MAX_IN])
        rows = session.exec(
            select(DerivedFile.key, DerivedFile.file_sha256).where(col(DerivedFile.key).in_(some))
        )
        found.update({key: sha256 for key, sha256 in rows})
    return found


def add_derived_files(session: Session, files: Mapping[str, str]) -> None:
    """Record which file, already in the store and with a row, holds which value; and commit.

    A key that another process recorded meanwhile is left as it is: its value is the same.
    """
    now = utc_now()
    rows = [{"key": key, "file_sha256": sha, "created_at": now} for key, sha in files.items()]
    insert_new(session, DerivedFile, rows)
    session.commit()
