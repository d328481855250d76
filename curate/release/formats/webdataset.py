"""WebDataset: tar shards in which an image and its description share a name."""

import io
import json
import tarfile
from collections.abc import Iterator, Sequence

from curate.release.entries import Entry
from curate.release.formats.shards import ReadImage, shards_of
from curate.release.tables import columns_of

IMAGES_A_SHARD = 1000


def files(
    entries: Sequence[Entry], read: ReadImage, *, simulated_ratings: bool
) -> Iterator[tuple[str, bytes]]:
    """Yield `webdataset/train-000000.tar` and so on, with NAME.png (.nii.gz) and NAME.json."""
    for split, number, _, own in shards_of(entries, IMAGES_A_SHARD):
        shard = io.BytesIO()
        with tarfile.open(fileobj=shard, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for entry in own:
                name = entry.stem
                said = columns_of(entry, simulated_ratings=simulated_ratings)
                _add(tar, f"{name}.json", json.dumps(said, sort_keys=True).encode())
                _add(tar, f"{name}{entry.extension}", read(entry))
        yield f"webdataset/{split}-{number:06d}.tar", shard.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file that says nothing of when and by whom: the same release gives the same bytes."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = 0o644
    tar.addfile(info, io.BytesIO(content))
