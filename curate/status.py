"""What is in a workspace, and how far its last run is. Light: it is asked often and of millions."""

from dataclasses import asdict, dataclass, field
from typing import Any

from curate.production.watch import RunState, run_states, state_of
from curate.workspace import Workspace
from db import queries
from db.models import Run


@dataclass(frozen=True)
class RunProgress:
    """How much of a plan has been made, whichever run made it."""

    run_id: str
    version_id: str
    done: int
    planned: int


@dataclass(frozen=True)
class Status:
    """Row counts by name, the run that was planned last, and the runs that are at work."""

    counts: dict[str, int]
    last_run: RunProgress | None
    working: list[RunState] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return counts as top-level integers, with the runs beside them."""
        last_run = asdict(self.last_run) if self.last_run else None
        working = [state.to_json() for state in self.working]
        return {**self.counts, "last_run": last_run, "working_runs": working}

    def lines(self) -> list[str]:
        """Return the status for a person to read."""
        lines = [f"{num:>12,}  {name.replace('_', ' ')}" for name, num in self.counts.items()]
        at_work = {state.run_id for state in self.working}
        if self.last_run is not None and self.last_run.run_id not in at_work:
            run = self.last_run
            lines.append(f"last run {run.run_id[:12]}: {run.done:,} of {run.planned:,} images")
        return lines + [state.line() for state in self.working]


def read_status(ws: Workspace) -> Status:
    """Count what there is."""
    run = queries.runs.last_run(ws.session)
    progress = None
    if run is not None:
        progress = RunProgress(run.id, run.version_id, _num_done(ws, run), run.num_items)
    working = [state for state in run_states(ws.folder) if state.is_working]
    return Status(queries.audit.counts(ws.session), progress, working)


def _num_done(ws: Workspace, run: Run) -> int:
    """Return what the run itself has told; counting a million rows takes a tenth of a second."""
    state = state_of(ws.folder, run.id)
    if state is not None and (state.is_working or state.done >= run.num_items):
        return state.done
    return queries.runs.num_items_done(ws.session, run)
