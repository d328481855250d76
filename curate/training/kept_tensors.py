"""Tensors that are computed once: in the store, each under the hash of what it was computed from.

Some hundred share a file, since a store is slow at many small ones; the table `derived_file` says
which is where. They are read where they lie (memory-mapped), so that many take little memory.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from curate.progress import ShowProgress
from curate.workspace import Workspace
from db import queries

TENSORS_A_FILE = 256
OPEN_FILES = 512
MEDIA_TYPE = "application/x-safetensors"


class KeptTensors:
    """A workspace's kept tensors, looked up by key."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._file_of: dict[str, str] = {}
        self._opened = lru_cache(maxsize=OPEN_FILES)(self._open)

    def __getitem__(self, key: str) -> Tensor:
        """Return the tensor of a key that `fill` was told of."""
        tensor: Tensor = self._opened(self._file_of[key]).get_tensor(key)
        return tensor

    def fill(
        self,
        keys: Sequence[str],
        compute: Callable[[Sequence[str]], Mapping[str, Tensor]],
        show: ShowProgress,
        what: str,
    ) -> None:
        """Compute and keep what is missing of `keys`; killed, it goes on after the last file.

        What `compute` returns for a key must not depend on the keys beside it.
        """
        session, store, wanted = self._ws.session, self._ws.store, list(dict.fromkeys(keys))
        self._file_of.update(queries.files.derived_files(session, wanted))
        missing = [key for key in wanted if key not in self._file_of]
        if not missing:
            return
        with show(len(missing), what) as advance:
            for start in range(0, len(missing), TENSORS_A_FILE):
                some = missing[start : start + TENSORS_A_FILE]
                tensors = {key: one.contiguous().cpu() for key, one in compute(some).items()}
                [sha256] = queries.files.add_files(session, store, [(save(tensors), MEDIA_TYPE)])
                files = dict.fromkeys(tensors, sha256)
                queries.files.add_derived_files(session, files)
                self._file_of.update(files)
                advance(len(some))

    def _open(self, sha256: str) -> Any:
        path = self._ws.store.local_path(sha256)
        return safe_open(path, framework="pt").__enter__()  # type: ignore[no-untyped-call]
