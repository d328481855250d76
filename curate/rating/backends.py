"""Where people rate: Label Studio, or a place that another package brings."""

from importlib.metadata import entry_points

from annotation.base import RatingBackend
from curate.errors import CurateError
from curate.rating.label_studio import BACKEND, NoRatingPage, label_studio_backend
from curate.workspace import Workspace

GROUP = "curate.rating_backends"  # a package's entry points here: name = "module:open_backend"


def known_backends() -> tuple[str, ...]:
    """Return Label Studio's name, then those that other packages bring."""
    brought = {point.name for point in entry_points(group=GROUP)}
    return (BACKEND, *sorted(brought - {BACKEND}))


def open_backend(ws: Workspace, name: str) -> RatingBackend:
    """Return where people rate. A package's is `open_backend(folder)`: a folder of its own.

    It may keep there what it must know, such as an address and a token. It cannot replace ours.
    """
    if name == BACKEND:
        return label_studio_backend(ws)
    if name not in known_backends():
        raise CurateError(
            f"No rating backend {name!r}. Known: {', '.join(known_backends())}. A package can "
            f"bring more, by an entry point in the group {GROUP!r}."
        )
    folder = ws.folder / "backends" / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    [point] = entry_points(group=GROUP, name=name)
    backend: RatingBackend = point.load()(folder)
    return backend


def backend_that_is_up(ws: Workspace, name: str = BACKEND) -> RatingBackend:
    """Return where people rate; NoRatingPage when it does not answer."""
    backend = open_backend(ws, name)
    health = backend.health()
    if not health.is_up:
        how = ". Start it with `curate rate serve`." if name == BACKEND else ""
        raise NoRatingPage(f"{health.message}{how}")
    return backend
