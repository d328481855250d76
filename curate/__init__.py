"""The workflow: the only folder that knows all the others. In notebooks: `curate.open("study")`."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from curate.notebook import OpenStudy

__version__ = "0.2.0"
OWN_NAMES = ("annotation", "cli", "db", "generators", "rewards")  # beside this package


def open(folder: "Path | str" = ".") -> "OpenStudy":
    """Open a workspace for reading, as notebooks do: docs/notebook.md.

    Raises ImportError where a file of one's own hides a part of curate, CurateError where there is
    no workspace.
    """
    home = Path(__file__).absolute().parent.parent
    for name in OWN_NAMES:
        found = find_spec(name)
        origin = found.origin if found else None
        if origin is None or not Path(origin).absolute().is_relative_to(home):
            raise ImportError(
                f"{origin or name} stands before curate's own {name!r}: Python looks in the "
                "notebook's folder first. Rename it, or start the notebook in another folder."
            )
    from curate.notebook import OpenStudy

    return OpenStudy(folder)
