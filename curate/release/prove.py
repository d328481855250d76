"""`curate export --verify`: what can be proved of a release, with a workspace and without."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from curate.release.manifest import ManifestImage, read_manifest
from curate.release.remake import images_made_again
from curate.release.verify import Verification, verify_release
from curate.workspace import SETTINGS, Workspace, open_workspace
from db import queries
from generators.sample import Sample


def verify(folder: Path, workspace: Path, *, num_again: int) -> Verification:
    """Prove a release's bytes; where there is a workspace, ask it and make images again."""
    if not (workspace / SETTINGS).is_file():
        return verify_release(folder)
    with open_workspace(workspace) as ws:
        return prove(folder, ws, num_again=num_again)


def prove(folder: Path, ws: Workspace, *, num_again: int) -> Verification:
    """Prove a release's bytes, ask the workspace that made it, and make images again.

    Images are made again only where the workspace has every generator version behind the release.
    """
    wanted = {image.version_id for image in read_manifest(folder).images}
    has_all = wanted <= {version.id for version in queries.versions.versions(ws.session)}

    def make_again(images: Sequence[ManifestImage]) -> Iterator[Sample]:
        return images_made_again(ws, images)

    return verify_release(
        folder,
        session=ws.session,
        make_again=make_again if has_all and num_again > 0 else None,
        num_again=num_again,
    )
