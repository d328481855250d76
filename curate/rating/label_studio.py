"""Where a workspace keeps its Label Studio, and how the rest of curate reaches it."""

import json
from dataclasses import asdict
from pathlib import Path

import httpx

from annotation.label_studio.access import Access, read_access
from annotation.label_studio.backend import LabelStudioBackend
from curate.errors import CurateError
from curate.rating.config import LABEL_STUDIO
from curate.workspace import Workspace
from db.folders import remove_abandoned, replace_file

FOLDER = "label-studio"  # data/, images/, server.log, access.json
BACKEND = LABEL_STUDIO


def server_folder(ws: Workspace) -> Path:
    """Return the managed server's folder, inside the workspace."""
    return ws.folder / FOLDER


def access_path(ws: Workspace) -> Path:
    """Return the file that holds the tokens; only its owner may read it."""
    return server_folder(ws) / "access.json"


def write_access(path: Path, access: Access) -> None:
    """Keep the access, whole or not at all, readable by its owner only from the first byte on."""
    remove_abandoned(path.parent, f"{path.name}.")  # parts that earlier versions left, killed
    replace_file(path, json.dumps(asdict(access), indent=2).encode(), mode=0o600)


class NoRatingPage(CurateError):
    """There is no Label Studio, or it does not answer."""


def label_studio_access(ws: Workspace) -> Access:
    """Return how to reach the workspace's Label Studio; NoRatingPage when it has none."""
    access = read_access(access_path(ws))
    if access is None:
        raise NoRatingPage(
            "This workspace has no Label Studio yet. Start one with `curate rate serve`, or name "
            "one that runs with `curate rate serve --url URL --token FILE`."
        )
    return access


def label_studio_backend(
    ws: Workspace, *, transport: httpx.BaseTransport | None = None
) -> LabelStudioBackend:
    """Return the workspace's Label Studio as a place where people rate."""
    return LabelStudioBackend(label_studio_access(ws), transport=transport)
