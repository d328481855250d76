"""Files by their SHA-256, in a local folder or on anything that fsspec opens (S3, GCS, memory ...).

A file has one key, `ab/cd/abcd...`, and is whole when it is there: a local file is written aside,
made durable and renamed; a remote one arrives in one PUT. Nothing is ever overwritten
with other bytes. Reading does not verify; `curate doctor` does, with `measure`.
"""

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol

from db.errors import StoreError
from db.folders import remove_abandoned, sync, unfinished_folder

CHUNK_BYTES = 1 << 20
UNFINISHED = "unfinished"  # the folder of local files that are being written
_KEY = re.compile(r"([0-9a-f]{2})/([0-9a-f]{2})/(\1\2[0-9a-f]{60})")
_DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class FileStore(Protocol):
    """Keeps bytes under their SHA-256 (64 lower-case hexadecimal digits). Raises StoreError."""

    def put_many(self, items: Sequence[bytes]) -> list[str]:
        """Keep every item and return the SHA-256s in order; all are durable on return."""
        ...

    def put_file(self, path: Path) -> str:
        """Keep a file of any size and return its SHA-256; it is durable on return."""
        ...

    def get(self, sha256: str) -> bytes:
        """Return the bytes, unverified."""
        ...

    def exists(self, sha256: str) -> bool:
        """Say whether there is a file under this hash."""
        ...

    def local_path(self, sha256: str) -> Path:
        """Return a local file with the bytes, downloaded first where the store is remote."""
        ...

    def delete(self, sha256: str) -> None:
        """Remove the file, if it is there."""
        ...

    def list(self) -> Iterator[str]:
        """Yield the SHA-256 of every file."""
        ...

    def strays(self) -> Iterator[str]:
        """Yield the keys of what is no file of the store: unfinished and foreign ones."""
        ...

    def measure(self, sha256: str) -> tuple[int, str]:
        """Return the length in bytes and the SHA-256 of what is really there."""
        ...

    def move_out(self, key: str, folder: Path) -> Path:
        """Move what lies under `key` to a local folder, under the same key there."""
        ...


def open_store(location: str | Path, *, cache: Path | None = None) -> FileStore:
    """Return the store in a local folder or at an fsspec URL such as `s3://bucket/prefix`.

    Credentials and endpoints come from the environment, as that file system reads them. `cache` is
    where a remote store's `local_path` downloads to.
    """
    url = str(location)
    if "://" in url and not url.startswith("file://"):
        return FsspecStore(url, cache)
    return LocalStore(Path(url.removeprefix("file://")))


def file_key(sha256: str) -> str:
    """Return the place of a file inside a store."""
    key = f"{sha256[:2]}/{sha256[2:4]}/{sha256}"
    if _KEY.fullmatch(key) is None:
        raise ValueError(f"no SHA-256 in 64 lower-case hexadecimal digits: {sha256!r}")
    return key


class LocalStore:
    """A folder on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        remove_abandoned(self.folder / UNFINISHED)

    def put_many(self, items: Sequence[bytes]) -> list[str]:
        """Keep every item; all are written before any is synced, and synced side by side."""
        hashes = [hashlib.sha256(item).hexdigest() for item in items]
        with _explained(self.folder):
            contents = dict(zip(hashes, items, strict=True))
            new = [sha for sha in contents if not self._is_whole(sha)]
            with unfinished_folder(self.folder / UNFINISHED) as folder:
                for sha256 in new:
                    _write_file(folder / sha256, contents[sha256])
                self._finish(folder, new)
            self._sync_folders(hashes)
        return hashes

    def put_file(self, path: Path) -> str:
        """Keep a copy of a file."""
        with _explained(self.folder):
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                if not self._is_whole(sha256):
                    file.seek(0)
                    self._write(sha256, _chunks(file))
            self._sync_folders([sha256])
        return sha256

    def get(self, sha256: str) -> bytes:
        """Return the bytes, unverified."""
        with _explained(self.folder, sha256):
            return self._path(sha256).read_bytes()

    def exists(self, sha256: str) -> bool:
        """Say whether there is a file under this hash."""
        return self._path(sha256).is_file()

    def local_path(self, sha256: str) -> Path:
        """Return the file itself: read it, never write to it."""
        if not self.exists(sha256):
            raise _missing(sha256, self.folder)
        return self._path(sha256)

    def delete(self, sha256: str) -> None:
        """Remove the file, if it is there."""
        with _explained(self.folder):
            self._path(sha256).unlink(missing_ok=True)

    def list(self) -> Iterator[str]:
        """Yield the SHA-256 of every file."""
        return (Path(key).name for key in self._keys() if _KEY.fullmatch(key))

    def strays(self) -> Iterator[str]:
        """Yield the keys of what is no file of the store."""
        return (key for key in self._keys() if not _KEY.fullmatch(key))

    def measure(self, sha256: str) -> tuple[int, str]:
        """Return the length and the SHA-256 of what is there."""
        with _explained(self.folder, sha256), self._path(sha256).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return file.tell(), digest

    def move_out(self, key: str, folder: Path) -> Path:
        """Move what lies under `key` to `folder`, which may be on another disk."""
        target = folder / key
        with _explained(self.folder):
            target.parent.mkdir(parents=True, exist_ok=True)
            return Path(shutil.move(self.folder / key, target))

    def keep_chunks(self, sha256: str, chunks: Iterable[bytes]) -> Path:
        """Keep bytes whose hash is known beforehand, as a cache does; refuse any others."""
        with _explained(self.folder):
            self._write(sha256, chunks)
            return self._path(sha256)

    def _path(self, sha256: str) -> Path:
        return self.folder / file_key(sha256)

    def _is_whole(self, sha256: str) -> bool:
        """Say whether the file is there with its own bytes; a torn or damaged one is replaced."""
        return self.exists(sha256) and self.measure(sha256)[1] == sha256

    def _write(self, sha256: str, chunks: Iterable[bytes]) -> None:
        digest = hashlib.sha256()
        with unfinished_folder(self.folder / UNFINISHED) as folder:
            with (folder / sha256).open("xb") as file:
                for chunk in chunks:
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != sha256:
                raise StoreError(f"{sha256[:12]} changed while it was read. Run the command again.")
            self._finish(folder, [sha256])

    def _finish(self, unfinished: Path, hashes: Sequence[str]) -> None:
        """Make files durable, then give them their names: what has its name is whole."""
        sync(str(unfinished / sha256) for sha256 in hashes)
        for sha256 in hashes:
            path = self._path(sha256)
            try:
                os.rename(unfinished / sha256, path)
            except FileNotFoundError:  # its folder is new: at most 65,792 times a store
                path.parent.mkdir(parents=True, exist_ok=True)
                os.rename(unfinished / sha256, path)

    def _sync_folders(self, hashes: Sequence[str]) -> None:
        """Make names durable: leaves and their parents side by side, the store's root last."""
        leaves = {self._path(sha256).parent for sha256 in hashes}
        sync(str(folder) for folder in leaves | {leaf.parent for leaf in leaves})
        sync([str(self.folder)] if leaves else [])

    def _keys(self) -> Iterator[str]:
        for parent, folders, names in os.walk(self.folder):
            folders.sort()
            for name in sorted(names):
                yield (Path(parent) / name).relative_to(self.folder).as_posix()


class FsspecStore:
    """Any file system of fsspec; a PUT there is whole or not at all."""

    def __init__(self, url: str, cache: Path | None) -> None:
        self.url = url.rstrip("/")
        self.cache = None if cache is None else LocalStore(cache)
        import fsspec  # here: most stores are local, and it is slow to load

        try:
            # another process may add files: a remembered listing would hide them
            self.files, self.root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except (ValueError, ImportError) as error:  # an unknown protocol, a missing package
            raise StoreError(
                f"Cannot open the store {url}: {error}. "
                "For S3, install `pip install 'curate-images[s3]'`."
            ) from error

    def put_many(self, items: Sequence[bytes]) -> list[str]:
        """Keep every item, at once where the file system can."""
        hashes = [hashlib.sha256(item).hexdigest() for item in items]
        contents = {self._path(sha): item for sha, item in zip(hashes, items, strict=True)}
        with _explained(self.url, kind=Exception):
            self.files.pipe(contents)
        return hashes

    def put_file(self, path: Path) -> str:
        """Keep a copy of a file."""
        with _explained(self.url, kind=Exception):
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            there = self.files.isfile(self._path(sha256))  # weights are large: sent once
            if not there or self.measure(sha256)[1] != sha256:
                self.files.put_file(str(path), self._path(sha256))
        return sha256

    def get(self, sha256: str) -> bytes:
        """Return the bytes, unverified."""
        with _explained(self.url, sha256, kind=Exception):
            content: bytes = self.files.cat_file(self._path(sha256))
            return content

    def exists(self, sha256: str) -> bool:
        """Say whether there is a file under this hash."""
        with _explained(self.url, kind=Exception):
            return bool(self.files.isfile(self._path(sha256)))

    def local_path(self, sha256: str) -> Path:
        """Return a verified copy in the cache."""
        if self.cache is None:
            raise ValueError("a remote store needs open_store(..., cache=FOLDER) for local_path")
        if self.cache.exists(sha256):
            return self.cache.local_path(sha256)
        with (
            _explained(self.url, sha256, kind=Exception),
            self.files.open(self._path(sha256), "rb") as file,
        ):
            return self.cache.keep_chunks(sha256, _chunks(file))

    def delete(self, sha256: str) -> None:
        """Remove the file, if it is there."""
        with _explained(self.url, kind=Exception), suppress(FileNotFoundError):
            self.files.rm_file(self._path(sha256))

    def list(self) -> Iterator[str]:
        """Yield the SHA-256 of every file."""
        return (Path(key).name for key in self._keys() if _KEY.fullmatch(key))

    def strays(self) -> Iterator[str]:
        """Yield the keys of what is no file of the store."""
        return (key for key in self._keys() if not _KEY.fullmatch(key))

    def measure(self, sha256: str) -> tuple[int, str]:
        """Return the length and the SHA-256 of what is there."""
        digest, num_bytes = hashlib.sha256(), 0
        with (
            _explained(self.url, sha256, kind=Exception),
            self.files.open(self._path(sha256), "rb") as file,
        ):
            for chunk in _chunks(file):
                digest.update(chunk)
                num_bytes += len(chunk)
        return num_bytes, digest.hexdigest()

    def move_out(self, key: str, folder: Path) -> Path:
        """Download what lies under `key` to `folder`, then remove it from the store."""
        target = folder / key
        with _explained(self.url, kind=Exception):
            target.parent.mkdir(parents=True, exist_ok=True)
            self.files.get_file(f"{self.root}/{key}", str(target))
            self.files.rm_file(f"{self.root}/{key}")
        return target

    def _path(self, sha256: str) -> str:
        return f"{self.root}/{file_key(sha256)}"

    def _keys(self) -> Iterator[str]:
        with _explained(self.url, kind=Exception):
            paths = self.files.find(self.root)
        return (path.removeprefix(self.root).lstrip("/") for path in paths)


def _write_file(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with open(descriptor, "wb", buffering=0) as file:
        rest = memoryview(content)
        while rest:  # a disk that fills up writes a part first
            rest = rest[file.write(rest) :]


def _chunks(file: IO[Any]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def _missing(sha256: str, location: object) -> StoreError:
    return StoreError(
        f"File {sha256[:12]} is not in the store {location}. "
        "Run `curate doctor` to see what else is missing."
    )


@contextmanager
def _explained(
    location: object, sha256: str = "", *, kind: type[Exception] = OSError
) -> Iterator[None]:
    """Turn what the disk says into one line, or the network.

    Remote file systems raise classes of their own, which only they could name: there `kind` is
    Exception.
    """
    try:
        yield
    except (StoreError, ValueError):  # said already; a programmer's mistake
        raise
    except kind as error:
        if isinstance(error, FileNotFoundError) and sha256:
            raise _missing(sha256, location) from error
        if isinstance(error, OSError) and error.errno in _DISK_IS_FULL:
            raise StoreError(
                f"No space left for the store {location} ({error.strerror}). Nothing half-written "
                "was kept: free some space and run the same command again."
            ) from error
        raise StoreError(
            f"The store {location} cannot be used: {error or type(error).__name__}. "
            "Check the place, its permissions and credentials, and run the same command again."
        ) from error
