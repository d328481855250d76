import errno
import hashlib
import os
import resource
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from db.errors import StoreError
from db.store import UNFINISHED, FileStore, LocalStore, file_key, open_store

SHA_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
BIG = os.urandom(3_000_000)  # more than a chunk


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """An S3 server on this machine, from a wheel."""
    moto = pytest.importorskip("moto.server", reason="moto's server (extra [test]) is missing")
    pytest.importorskip("s3fs", reason="the extra [s3] is not installed")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_url(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket, found as a user's would be: by the environment."""
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()  # one that another test opened knows its server only
    bucket = f"curate-{uuid4().hex}"
    s3fs.S3FileSystem(skip_instance_cache=True).mkdir(bucket)
    return f"s3://{bucket}/files"


@pytest.fixture(params=["local", "memory", "s3"])
def store(request: pytest.FixtureRequest, folder: Path) -> FileStore:
    """The same store on three kinds of file system."""
    if request.param == "local":
        return open_store(folder)
    url = f"memory://{uuid4().hex}"
    if request.param == "s3":
        url = request.getfixturevalue("s3_url")
    return open_store(url, cache=folder)


def files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_bytes_are_kept_under_their_sha256_and_come_back(store: FileStore) -> None:
    assert store.put_many([b"abc", BIG, b"abc", b""]) == [
        SHA_OF_ABC,
        hashlib.sha256(BIG).hexdigest(),
        SHA_OF_ABC,
        hashlib.sha256(b"").hexdigest(),
    ]
    assert store.get(SHA_OF_ABC) == b"abc"
    assert store.get(hashlib.sha256(BIG).hexdigest()) == BIG
    assert store.get(hashlib.sha256(b"").hexdigest()) == b""
    assert store.exists(SHA_OF_ABC)
    assert sorted(store.list()) == sorted(
        {SHA_OF_ABC, hashlib.sha256(BIG).hexdigest(), hashlib.sha256(b"").hexdigest()}
    )
    assert list(store.strays()) == []


def test_a_file_is_kept_like_its_bytes(store: FileStore, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(BIG)
    sha = store.put_file(tmp_path / "weights")
    assert store.put_many([BIG]) == [sha]
    assert store.put_file(tmp_path / "weights") == sha
    assert store.local_path(sha).read_bytes() == BIG
    assert store.local_path(sha).read_bytes() == BIG  # now from the cache
    assert store.measure(sha) == (len(BIG), sha)


def test_what_is_not_there_is_named(store: FileStore) -> None:
    assert not store.exists(SHA_OF_ABC)
    for read in (store.get, store.local_path, store.measure):
        with pytest.raises(StoreError, match=f"{SHA_OF_ABC[:12]} is not in the store.*doctor"):
            read(SHA_OF_ABC)
    assert list(store.list()) == []


def test_a_deleted_file_is_gone(store: FileStore) -> None:
    store.put_many([b"abc"])
    store.delete(SHA_OF_ABC)
    store.delete(SHA_OF_ABC)
    assert not store.exists(SHA_OF_ABC)
    assert list(store.list()) == []


def test_a_file_can_be_moved_out(store: FileStore, tmp_path: Path) -> None:
    store.put_many([b"abc"])
    moved = store.move_out(file_key(SHA_OF_ABC), tmp_path / "quarantine")
    assert moved == tmp_path / "quarantine" / file_key(SHA_OF_ABC)
    assert moved.read_bytes() == b"abc"
    assert not store.exists(SHA_OF_ABC)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", SHA_OF_ABC.upper(), SHA_OF_ABC[:-1]])
def test_only_a_hash_is_a_name(store: FileStore, name: str) -> None:
    with pytest.raises(ValueError, match="no SHA-256"):
        store.get(name)


def test_a_file_lies_two_folders_deep_and_others_may_read_it(folder: Path) -> None:
    open_store(folder).put_many([b"abc"])
    (path,) = files_under(folder)
    assert path == folder / "ba" / "78" / SHA_OF_ABC
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_files_are_synced_before_they_are_named_and_folders_once_a_batch(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real_fsync = os.fsync

    def watched_fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    open_store(folder).put_many([b"abc", b"def"])
    assert [UNFINISHED in path for path in synced] == [True, True, *[False] * 5]
    assert len(set(synced[2:])) == 5  # two leaves, two parents, the root
    assert synced[-1] == str(folder)


def test_a_torn_file_is_written_anew(folder: Path) -> None:
    store = open_store(folder)
    store.put_many([b"abc"])
    (folder / file_key(SHA_OF_ABC)).write_bytes(b"a")
    store.put_many([b"abc"])
    assert store.get(SHA_OF_ABC) == b"abc"


@contextmanager
def small_disk() -> Iterator[int]:
    """The kernel refuses to write past a number of bytes into any file, as a full disk would.

    Only as long as needed: the limit holds for the file that pytest's own output may go to as well.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        yield 100_000
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_one_clear_line_and_leaves_nothing_torn(folder: Path) -> None:
    full = pytest.raises(StoreError, match="No space left .* run the same command again")
    with full, small_disk() as num_bytes:
        open_store(folder).put_many([b"abc", os.urandom(2 * num_bytes)])
    assert files_under(folder) == []  # of a batch all files are named, or none


def test_a_full_disk_found_when_syncing_leaves_nothing_torn(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        open_store(folder).put_many([b"abc"])
    assert files_under(folder) == []


def test_a_stop_in_the_middle_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        open_store(folder).put_many([b"abc"])
    assert files_under(folder) == []


def test_a_cache_refuses_bytes_that_are_not_what_was_asked_for(folder: Path) -> None:
    store: Any = open_store(f"memory://{uuid4().hex}", cache=folder)
    store.put_many([b"abc"])
    store.files.pipe_file(f"{store.root}/{file_key(SHA_OF_ABC)}", b"abd")
    with pytest.raises(StoreError, match=SHA_OF_ABC[:12]):
        store.local_path(SHA_OF_ABC)
    assert files_under(folder) == []


def test_a_remote_file_arrives_in_one_put_to_its_final_key(
    s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: Any = open_store(s3_url)
    calls: list[str] = []
    real_call = store.files._call_s3

    async def watched_call(method: str, *args: Any, **kwargs: Any) -> Any:
        calls.append(f"{method} {kwargs['Key']}")
        return await real_call(method, *args, **kwargs)

    monkeypatch.setattr(store.files, "_call_s3", watched_call)
    store.put_many([b"abc"])
    assert calls == [f"put_object files/{file_key(SHA_OF_ABC)}"]


def test_another_process_sees_a_new_remote_file_at_once(s3_url: str) -> None:
    import s3fs

    reader = open_store(s3_url)
    reader.put_many([b"def"])
    assert len(list(reader.list())) == 1  # what could be remembered
    other = s3fs.S3FileSystem(skip_instance_cache=True)
    other.pipe_file(f"{s3_url}/{file_key(SHA_OF_ABC)}", b"abc")
    assert len(list(reader.list())) == 2
    assert reader.exists(SHA_OF_ABC)


def test_a_place_that_is_not_there_is_named(s3_url: str) -> None:
    with pytest.raises(StoreError, match="store s3://no-such-bucket"):
        open_store("s3://no-such-bucket").put_many([b"abc"])
    with pytest.raises(StoreError, match="Cannot open the store ftpx://"):
        open_store("ftpx://place")


def test_a_file_in_the_way_of_the_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "files").write_bytes(b"in the way")
    with pytest.raises(StoreError, match="files cannot be used"):
        open_store(tmp_path / "files").put_many([b"abc"])


def test_what_a_killed_command_left_is_removed_when_the_store_is_opened(folder: Path) -> None:
    (folder / UNFINISHED).mkdir(parents=True)
    (folder / UNFINISHED / "left").write_bytes(b"half a fi")
    assert list(open_store(folder).strays()) == []


def test_what_another_command_is_writing_is_left_alone(folder: Path, tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def slow_bytes() -> Iterator[bytes]:
        yield b"ab"
        seen.append(list(open_store(folder).strays()))
        yield b"c"

    LocalStore(folder).keep_chunks(SHA_OF_ABC, slow_bytes())
    assert [Path(key).parts[0] for key in seen[0]] == [UNFINISHED]
    assert open_store(folder).get(SHA_OF_ABC) == b"abc"
