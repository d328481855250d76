"""The translators of a workspace, by what they translate to."""

from curate.errors import CurateError
from curate.workspace import Workspace
from db import queries
from db.models import GeneratorVersion

FAMILY = "translation"


def translator_named(ws: Workspace, name: str) -> GeneratorVersion:
    """Return a translator by the modality that it learned, newest first, or by a version's id."""
    versions = [
        version
        for version in reversed(queries.versions.versions(ws.session))
        if queries.versions.family_of(ws.session, version) == FAMILY and version.how_made != "begun"
    ]
    if not versions:
        raise CurateError(
            "There is no trained translator here, and random weights translate nothing: `curate "
            "import FOLDER --modality T1 --new-modality T1`, then `curate train-generator --family "
            "translation --modality T1`."
        )
    if name == "latest":
        return versions[0]
    for version in versions:
        if version.id.startswith(name) or target_of(ws, version) == name:
            return version
    other = queries.versions.find_version(ws.session, name)  # names what there is, if nothing
    raise CurateError(
        f"Version {other.id[:12]} is not a translator: maps need pixels, and a "
        f"{other.generator_name} works on something else. See `curate generators list`."
    )


def target_of(ws: Workspace, version: GeneratorVersion) -> str:
    """Return the modality that a translator, or the one it came from, was trained on."""
    while version.parent_id is not None:
        learned = version.config.get("lesson", {}).get("modalities") or []
        if learned:
            return str(learned[0])
        version = queries.versions.find_version(ws.session, version.parent_id)
    return "target"
