"""A release in the words of Croissant (MLCommons, 1.0): which files it has and what is in them."""

import json
from collections.abc import Mapping
from typing import Any

from curate.outside import as_text
from curate.release.card import licence_of
from curate.release.choice import Chosen
from curate.release.tables import columns_of
from curate.samples.formats import EXTENSIONS, PNG

CROISSANT = "croissant.json"
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "conformsTo": "dct:conformsTo",
    "recordSet": "cr:recordSet",
    "field": "cr:field",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "source": "cr:source",
    "extract": "cr:extract",
    "column": "cr:column",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "md5": "cr:md5",
    "includes": "cr:includes",
    "key": "cr:key",
}
TYPES = {"score": "sc:Float", "simulated_ratings": "sc:Boolean"}  # others are texts


def croissant_bytes(chosen: Chosen, files: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Return croissant.json; `files` are those written so far, by path, with their SHA-256.

    One record set a table of images: there is one a split.
    """
    tables = [path for path in sorted(files) if path.endswith("/metadata.csv")]
    kept = len(chosen.kept)
    modalities = ", ".join(sorted({decision.image.modality for decision in chosen.kept.values()}))
    who = "simulated raters" if chosen.reward_model.simulated else "people"
    licence = licence_of(chosen.config, chosen.lineage)["id"]
    said = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": f"curate-{chosen.reward_model.id[:12]}",
        "description": as_text(
            f"{kept} synthetic medical images ({modalities}), chosen by a reward model that "
            f"learned from ratings of {who}. Not for clinical use."
        ),
        "license": f"https://spdx.org/licenses/{licence}",
        "version": "1.0.0",
        "keywords": ["medical", "synthetic", "curate"],
        "distribution": [
            *(
                {
                    "@type": "cr:FileObject",
                    "@id": path,
                    "name": path,
                    "contentUrl": path,
                    "encodingFormat": "text/csv",
                    "sha256": files[path]["sha256"],
                }
                for path in tables
            ),
            {
                "@type": "cr:FileSet",
                "@id": "image-files",
                "name": "image-files",
                "encodingFormat": "image/png",
                "includes": f"images/**/*{EXTENSIONS[PNG]}",
            },
        ],
        "recordSet": [_record_set(path, chosen) for path in tables],
    }
    return (json.dumps(said, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _record_set(path: str, chosen: Chosen) -> dict[str, Any]:
    """Return what the rows of one table hold, column by column."""
    name = "/".join(path.split("/")[:-1]).replace("/", "-")
    columns = columns_of(chosen.entries[0], simulated_ratings=True)
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{column}",
                "name": column,
                "dataType": TYPES.get(column, "sc:Text"),
                "source": {"fileObject": {"@id": path}, "extract": {"column": column}},
            }
            for column in ("file_name", *columns)
        ],
    }
