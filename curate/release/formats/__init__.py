"""Further shapes of a release, one module a format: each yields the same bytes every time."""

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec

from curate.errors import CurateError
from curate.release.config import FORMATS, GROUP, known_formats
from curate.release.entries import Entry
from curate.release.formats.shards import ReadImage

NEEDS = {"parquet": "pyarrow"}  # format -> the library that an extra of the same name brings


def check_formats(formats: Iterable[str]) -> None:
    """Refuse what is unknown, or what this environment cannot write, before any work is done."""
    for name in formats:
        if name not in (known := known_formats()):
            raise CurateError(
                f"No format {name!r}. Known: {', '.join(known)}. A package can bring more, by an "
                f"entry point in the group {GROUP!r}."
            )
        if name in NEEDS and find_spec(NEEDS[name]) is None:
            raise CurateError(
                f"Format {name} needs {NEEDS[name]}: `pip install 'curate-images[{name}]'`."
            )


def files_of(
    name: str, entries: Sequence[Entry], read: ReadImage, *, simulated_ratings: bool
) -> Iterator[tuple[str, bytes]]:
    """Yield the files of one format: (path in the release, bytes).

    A package's format is a function like this one without `name`; it cannot replace one of ours.
    """
    if name in FORMATS:
        files = import_module(f"curate.release.formats.{name}").files
    else:
        [point] = entry_points(group=GROUP, name=name)
        files = point.load()
    yield from files(entries, read, simulated_ratings=simulated_ratings)
