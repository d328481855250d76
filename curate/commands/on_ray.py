"""Commands that may share their work on Ray, which is an extra: `--ray auto` or an address."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.production.versions import embedded_version
from curate.workspace import Workspace, open_workspace
from db import queries
from db.models import GeneratorVersion

Make = Callable[..., GeneratorVersion | None]


@contextmanager
def ray_installed() -> Iterator[None]:
    """Import what needs Ray inside; CurateError says what to install where it is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise CurateError(
            f"--ray needs a package that is not installed ({error.name}). "
            "Install it with `pip install 'curate-images[ray]'`, on every node."
        ) from error


def tell_event(event: str, **details: Any) -> None:
    """Tell a person on stderr what happened to a worker."""
    words = ", ".join(f"{name} {value}" for name, value in details.items())
    print(f"{event.replace('-', ' ')}: {words}", file=sys.stderr, flush=True)


def version_made_on_ray(
    ws: Workspace, *options: Any, make: Make, address: str, num_workers: int | None, **named: Any
) -> GeneratorVersion:
    """Do `make(ws, *options, **named)` in several processes of a Ray cluster that train together.

    Each opens the workspace itself: its folder is one that every node sees under the same name.
    """
    with ray_installed():
        from curate.cluster.train import train_on_ray
    if named.get("base") is None:
        named["version"] = _pinned(ws, named["version"])
    ws.session.commit()
    version_id = train_on_ray(
        partial(_made_in, ws.folder, make, options, named),
        address=address,
        num_workers=num_workers,
        folder=ws.cache / "ray-train",
        note=tell_event,
    )
    return queries.versions.find_version(ws.session, version_id)


def _pinned(ws: Workspace, name: str | None) -> str:
    """Return what the name means now: after the result is kept, "latest" would be the result."""
    if name not in (None, "latest"):
        return str(name)
    return (queries.versions.latest_version(ws.session) or embedded_version(ws)).id


def _made_in(
    folder: Path, make: Make, options: tuple[Any, ...], named: dict[str, Any]
) -> str | None:
    with open_workspace(folder) as ws:
        made = make(ws, *options, **named)
        return None if made is None else made.id
