"""Versions that decide bytes must be equal on every node: else who made an image would show."""

import platform
from collections.abc import Mapping
from importlib.metadata import version

from curate import __version__
from curate.errors import CurateError
from curate.production.environment import LIBRARIES


def own_versions() -> dict[str, str]:
    """Return {name: version} of this process, where it runs."""
    libraries = {name: version(name) for name in LIBRARIES}
    return {"curate": __version__, "python": platform.python_version(), **libraries}


def refuse_others(theirs: Mapping[str, str]) -> None:
    """Raise CurateError unless a worker's versions are ours."""
    ours = own_versions()
    differing = [name for name in ours if theirs.get(name) != ours[name]]
    if differing:
        told = ", ".join(f"{name} {theirs.get(name)} (here {ours[name]})" for name in differing)
        raise CurateError(
            f"A worker of the Ray cluster has {told}: its images could differ from those made "
            "here. Install the same versions on every node."
        )
