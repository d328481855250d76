"""Parquet, with the images in it, as `datasets.load_dataset("parquet", ...)` shows them."""

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from curate.release.entries import Entry
from curate.release.formats.shards import ReadImage, shards_of
from curate.release.tables import columns_of
from curate.samples.formats import EXTENSIONS, PNG

IMAGES_A_SHARD = 1000


def files(
    entries: Sequence[Entry], read: ReadImage, *, simulated_ratings: bool
) -> Iterator[tuple[str, bytes]]:
    """Yield `parquet/train-00000-of-00001.parquet` and so on."""
    pictures = all(entry.extension == EXTENSIONS[PNG] for entry in entries)
    feature = {"_type": "Image" if pictures else "Nifti"}
    for split, number, num_shards, own in shards_of(entries, IMAGES_A_SHARD):
        rows = [
            {
                "image": {"bytes": read(entry), "path": PurePosixPath(entry.path).name},
                **columns_of(entry, simulated_ratings=simulated_ratings),
            }
            for entry in own
        ]
        shard = io.BytesIO()
        columns = list(rows[0])
        types = {
            "image": pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
            "score": pa.float64(),
            "simulated_ratings": pa.bool_(),
        }
        names = {"score": "float64", "simulated_ratings": "bool"}
        features = {
            name: {"_type": "Value", "dtype": names.get(name, "string")} for name in columns
        } | {"image": feature}
        said = json.dumps({"info": {"features": features}})
        fields = [(name, types.get(name, pa.string())) for name in columns]
        pq.write_table(
            pa.Table.from_pylist(rows, pa.schema(fields, metadata={"huggingface": said})), shard
        )
        yield f"parquet/{split}-{number:05d}-of-{num_shards:05d}.parquet", shard.getvalue()
