"""Generator versions between the store and memory: save a folder as a version, open a version."""

import hashlib
from contextlib import suppress
from pathlib import Path

from curate.errors import CurateError
from curate.production.config import GeneratorChoice
from curate.production.model_card import CARD, model_card
from curate.verified import damaged_files
from curate.workspace import Workspace
from db import queries
from db.folders import publish_folder, unfinished_folder
from db.models import GeneratorVersion
from db.queries.versions import OF_NOTHING, MadeOf
from generators import lora, registry
from generators.base import Generator, require_trainable
from generators.embedded import ATTRIBUTION, WEIGHTS
from generators.families.parts import fetched

MEDIA_TYPES = {".safetensors": "application/x-safetensors", ".json": "application/json"}


def save_version(
    ws: Workspace,
    folder: Path,
    *,
    generator_name: str,
    family: str,
    how_made: str,
    made_of: MadeOf = OF_NOTHING,
) -> GeneratorVersion:
    """Put every file of `folder` into the store and a version row over them.

    The same weights twice are one version: its id is the hash of the tree.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if not paths:
        raise CurateError(f"No file in {folder}: a generator version needs weights.")
    files = [
        (path.read_bytes(), MEDIA_TYPES.get(path.suffix, "application/octet-stream"))
        for path in paths
    ]
    hashes = queries.files.add_files(ws.session, ws.store, files)
    tree = {
        path.relative_to(folder).as_posix(): sha for path, sha in zip(paths, hashes, strict=True)
    }
    return queries.versions.add_generator_version(
        ws.session,
        generator_name=generator_name,
        family=family,
        files=tree,
        how_made=how_made,
        made_of=made_of,
    )


def version_folder(ws: Workspace, version_id: str) -> Path:
    """Return a folder in the cache with the version's own files, each checked against its hash.

    A cache that was damaged or is not whole is filled again from the store.
    """
    folder = ws.cache / "versions" / version_id
    files = queries.versions.version_files(ws.session, version_id)
    if folder.exists():
        if not damaged_files(ws, {folder / name: sha for name, sha in files.items()}):
            return folder
        with unfinished_folder(folder.parent, f".{version_id}.") as aside:
            folder.rename(aside / "damaged")  # removed with it
    with unfinished_folder(folder.parent, f".{version_id}.") as aside:
        for name, sha in files.items():
            content = ws.store.get(sha)
            if hashlib.sha256(content).hexdigest() != sha:
                raise CurateError(
                    f"{name} of generator version {version_id[:12]} is damaged in the store. "
                    "Run `curate doctor`."
                )
            path = aside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        with suppress(FileExistsError):  # another process was quicker: the same files
            publish_folder(aside, folder)
    if damaged := damaged_files(ws, {folder / name: sha for name, sha in files.items()}):
        raise CurateError(f"{damaged[0]} could not be stored intact. Is the disk full or damaged?")
    return folder


def load_version(ws: Workspace, version_id: str) -> Generator:
    """Open a version with every adapter of its ancestry merged: images are made from this."""
    version = ws.session.get(GeneratorVersion, version_id)
    if version is None:
        raise CurateError(f"No generator version {version_id!r}. See `curate generators list`.")
    if version.weights == "lora":
        assert version.parent_id is not None  # a CHECK of the table
        generator = require_trainable(load_version(ws, version.parent_id))
        lora.merge_lora(generator, version_folder(ws, version_id))
        return generator
    family = queries.versions.family_of(ws.session, version)
    return registry.load(family, str(version_folder(ws, version_id)))


def embedded_version(ws: Workspace) -> GeneratorVersion:
    """Return the shipped model's version in this workspace, adding it on first use."""
    return save_version(
        ws,
        WEIGHTS,
        generator_name="embedded",
        family="text-to-image",
        how_made="embedded",
    )


def version_to_use(ws: Workspace, name: str | None) -> GeneratorVersion:
    """Return the version of this name; without one, the latest, or else the embedded model."""
    if name is None and queries.versions.latest_version(ws.session) is None:
        return embedded_version(ws)
    return queries.versions.find_version(ws.session, name or "latest")


def chosen_version(ws: Workspace, choice: GeneratorChoice) -> GeneratorVersion:
    """Return the version that was chosen; weights from outside are brought in as one."""
    if choice.base is None:
        return version_to_use(ws, choice.version)
    if choice.version is not None:
        raise CurateError("Both --version and --base: give one of them.")
    return import_version(ws, choice.base, unet=choice.unet)


def id_of_choice(ws: Workspace, choice: GeneratorChoice) -> str:
    """Return the id that `chosen_version` would return a version of, without adding one."""
    if choice.base is not None and choice.version is None:
        with unfinished_folder(ws.cache / "unfinished", "look-") as aside:
            _opened(choice.base, choice.unet).save(aside)
            return queries.versions.tree_hash(_hashes_below(aside))
    if choice == GeneratorChoice() and queries.versions.latest_version(ws.session) is None:
        return queries.versions.tree_hash(_hashes_below(WEIGHTS))
    return chosen_version(ws, choice).id


def import_version(
    ws: Workspace, base: str, *, unet: str | None = None, name: str | None = None
) -> GeneratorVersion:
    """Add a diffusers folder or hub name, with an optional separate U-Net, as a version.

    The folder says which family opens it.
    """
    generator = _opened(base, unet)
    with unfinished_folder(ws.cache / "unfinished", "import-") as aside:
        generator.save(aside)
        return save_version(
            ws,
            aside,
            generator_name=name or Path(base).name,
            family=generator.family,
            how_made="imported",
            made_of=MadeOf(config={"base": base, "unet": unet}),
        )


def _opened(base: str, unet: str | None) -> Generator:
    folder = fetched(base)
    options = {} if unet is None else {"unet": unet}
    return registry.load(registry.family_of(folder), folder, **options)


def save_merged(ws: Workspace, version: str, folder: Path) -> bool:
    """Write a version's merged weights as a diffusers folder; False where it lies there already.

    Written aside, read back and renamed. Raises CurateError where the folder holds anything else.
    """
    with unfinished_folder(folder.absolute().parent, f".{folder.name}.partial-") as aside:
        row = queries.versions.find_version(ws.session, version)
        generator = load_version(ws, row.id)
        generator.save(aside)
        written = _hashes_below(aside)
        if folder.is_dir() and _hashes_below(folder) == written:
            return False
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise CurateError(f"{folder} contains other files. Name a new folder.")
        with unfinished_folder(aside.parent, f".{folder.name}.again-") as again:
            registry.load(generator.family, str(aside)).save(again)  # equal weights, equal bytes
            if _hashes_below(again) != written:
                raise CurateError(
                    f"What was written for {folder} does not read back unchanged. Check the disk, "
                    "then save again."
                )
        (aside / CARD).write_text(model_card(ws, row, generator), encoding="utf-8")
        if queries.versions.ancestry(ws.session, row.id)[-1].how_made == "embedded":
            (aside / ATTRIBUTION.name).write_bytes(ATTRIBUTION.read_bytes())
        publish_folder(aside, folder)
        return True


def _hashes_below(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (CARD, ATTRIBUTION.name)
    }
