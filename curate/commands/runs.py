"""`curate runs`: which runs and trainings there were, how they are, what they are asked to do.

Runs tell and hear through files: this works while the database does not.
"""

from pathlib import Path

from curate.errors import CurateError
from curate.production.watch import RunState, ask, run_states

ANSWERS = {
    "pause": "waits after its present batch or step; `curate runs resume` lets it go on.",
    "run": "goes on.",
    "stop": "ends after its present batch or step; the same command goes on later.",
}


def states(workspace: Path) -> list[RunState]:
    """Return the runs that worked in this folder, the last to have begun first."""
    return run_states(workspace)


def lines(found: list[RunState]) -> list[str]:
    """Return a line a run, or what to do where there is none."""
    return [state.line() for state in found] or ["No run yet. Make one with `curate generate`."]


def ask_run(workspace: Path, run: str | None, wanted: str) -> str:
    """Ask the run whose id begins with `run`, or the only working one; say what it will do."""
    working = [state for state in run_states(workspace) if state.is_working]
    chosen = [state for state in working if state.run_id.startswith(run or "")]
    if len(chosen) == 1:
        ask(workspace, chosen[0].run_id, wanted)
        return f"{chosen[0].kind.capitalize()} {chosen[0].run_id[:12]} {ANSWERS[wanted]}"
    problem = "No run is" if not chosen else f"{len(chosen)} runs are"
    known = ", ".join(state.run_id[:12] for state in working) or "none"
    raise CurateError(f"{problem} at work that fits (at work: {known}). See `curate runs list`.")
