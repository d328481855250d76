"""What is in a workspace, and how far its last run is. Light: it is asked often and of millions."""

from dataclasses import asdict, dataclass
from typing import Any

from curate.workspace import Workspace
from db import queries


@dataclass(frozen=True)
class RunProgress:
    """How much of a plan has been made, whichever run made it."""

    run_id: str
    version_id: str
    done: int
    planned: int


@dataclass(frozen=True)
class Status:
    """Row counts by name, and the run that was planned last."""

    counts: dict[str, int]
    last_run: RunProgress | None

    def to_json(self) -> dict[str, Any]:
        """Return counts as top-level integers, with `last_run` beside them."""
        return {**self.counts, "last_run": asdict(self.last_run) if self.last_run else None}

    def lines(self) -> list[str]:
        """Return the status for a person to read."""
        lines = [f"{num:>12,}  {name.replace('_', ' ')}" for name, num in self.counts.items()]
        if self.last_run is not None:
            run = self.last_run
            lines.append(f"last run {run.run_id[:12]}: {run.done:,} of {run.planned:,} images")
        return lines


def read_status(ws: Workspace) -> Status:
    """Count what there is."""
    run = queries.last_run(ws.session)
    progress = None
    if run is not None:
        done = queries.num_items_done(ws.session, run)
        progress = RunProgress(run.id, run.version_id, done, run.num_items)
    return Status(queries.counts(ws.session), progress)
