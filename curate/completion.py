"""What a shell offers after TAB where an id or a name is wanted: those of the workspace at hand."""

from collections.abc import Callable, Mapping
from pathlib import Path

from curate.errors import USER_ERRORS
from curate.production.watch import run_states
from curate.workspace import Workspace, nearest_workspace, read_workspace
from db import queries

SHOWN = 12  # digits of an id, as everywhere
Names = list[tuple[str, str]]  # with a word on each

LISTS: Mapping[str, Callable[[Workspace], Names]] = {
    "version": lambda ws: [
        ("latest", "the newest version"),
        *((row.id, row.how_made) for row in queries.versions.versions(ws.session)),
    ],
    "reward model": lambda ws: [
        ("latest", "the newest reward model"),
        *((row.id, row.role) for row in queries.reward_models.reward_models(ws.session)),
    ],
    "campaign": lambda ws: [
        (row.name, row.backend) for row in queries.campaigns.campaigns(ws.session)
    ],
    "run": lambda ws: [(state.run_id, state.kind) for state in run_states(ws.folder)],
    "working run": lambda ws: [
        (state.run_id, state.kind) for state in run_states(ws.folder) if state.is_working
    ],
    "release": lambda ws: [(row.id, row.name) for row in queries.releases.releases(ws.session)],
}


def known(kind: str, folder: Path, beginning: str) -> Names:
    """Return the ids or names of a kind that begin so; none where no workspace can be read."""
    try:
        with read_workspace(nearest_workspace(folder)) as ws:
            names = LISTS[kind](ws)
    except USER_ERRORS:  # a shell shows no errors while somebody types
        return []
    is_id = kind != "campaign"
    length = max(SHOWN, len(beginning)) if is_id else None
    return [(name[:length], said) for name, said in names if name.startswith(beginning)]
