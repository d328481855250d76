"""What is in a workspace, and how far its last run is. Light: it is asked often and of millions."""

import shlex
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from curate.loop.config import ENDS
from curate.production.watch import RunState, run_states, state_of
from curate.rating.practised import practice_lines
from curate.workspace import Workspace
from db import queries

if TYPE_CHECKING:
    from curate.release.live import LivePromise


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
    next_step: str = ""  # what a person would do now, and the command for it
    promises: list["LivePromise"] = field(default_factory=list)  # of releases, rated anew since
    practice: list[str] = field(default_factory=list)  # how far raters are, before campaigns

    def to_json(self) -> dict[str, Any]:
        """Return counts as top-level integers, with the runs and the next step beside them."""
        last_run = asdict(self.last_run) if self.last_run else None
        working = [state.to_json() for state in self.working]
        beside = {"last_run": last_run, "working_runs": working, "next_step": self.next_step}
        promises = [one.to_json() for one in self.promises]
        return {**self.counts, **beside, "promises": promises, "practice": self.practice}

    def lines(self) -> list[str]:
        """Return the status for a person to read."""
        lines = [f"{num:>12,}  {name.replace('_', ' ')}" for name, num in self.counts.items()]
        at_work = {state.run_id for state in self.working}
        if self.last_run is not None and self.last_run.run_id not in at_work:
            run = self.last_run
            lines.append(f"last run {run.run_id[:12]}: {run.done:,} of {run.planned:,} images")
        lines += [state.line() for state in self.working]
        lines += [*(promise.line() for promise in self.promises), *self.practice]
        return [*lines, f"next: {self.next_step}"] if self.next_step else lines


def read_status(ws: Workspace) -> Status:
    """Count what there is."""
    run = queries.runs.last_run(ws.session)
    progress = None
    if run is not None:
        # what the run itself has told; counting a million rows takes a tenth of a second
        state = state_of(ws.folder, run.id)
        told = state is not None and (state.is_working or state.done >= run.num_items)
        done = state.done if state and told else queries.runs.num_items_done(ws.session, run)
        progress = RunProgress(run.id, run.version_id, done, run.num_items)
    working = [state for state in run_states(ws.folder) if state.is_working]
    counts = queries.audit.counts(ws.session)
    next_step = "watch what is at work: `curate runs list`"
    if not working:
        next_step = _next(ws, counts, progress)
    promises = _changed_promises(ws)
    return Status(counts, progress, working, next_step, promises, practice_lines(ws))


def _changed_promises(ws: Workspace) -> list["LivePromise"]:
    rows = queries.releases.releases(ws.session)
    if not any(row.evidence.get("certificate") for row in rows):
        return []
    from curate.release.live import changed_promises  # here: its statistics take long to load

    return changed_promises(ws)


def _next(ws: Workspace, counts: dict[str, int], run: RunProgress | None) -> str:
    """Return the first step of the circle that is still to be taken, in words and as a command."""
    open_rounds = [row for row in queries.rounds.rounds(ws.session) if row.state not in ENDS]
    if open_rounds:
        row = open_rounds[-1]
        name = shlex.quote(row.loop_name)
        return f"go on with round {row.number}, which is {row.state}: `curate loop --name {name}`"
    if run is not None and run.done < run.planned:
        missing = run.planned - run.done
        return f"make the {missing:,} missing images of the last run: the same `curate generate`"
    if not counts["synthetic_images"]:
        return "make images: `curate generate`"
    if not counts["ratings"] + counts["comparisons"]:
        rows = queries.campaigns.campaigns(ws.session, with_archived=False)
        asked = [row for row in rows if not row.simulated]
        if asked:
            name = shlex.quote(asked[-1].name)
            return f"fetch what raters have answered: `curate rate pull --campaign {name}`"
        return "ask raters with `curate rate push`, or simulated ones: `curate rate simulate`"
    if not counts["reward_models"]:
        return "learn from the ratings what is good: `curate train-reward`"
    model = queries.reward_models.reward_models(ws.session)[-1]
    if model.role == "reward" and not queries.reward_models.has_scores(ws.session, model.id):
        return "score the images with the newest reward model: `curate score`"
    if not counts["releases"]:
        return "export the best images: `curate export`"
    return "make the generator better: `curate loop`; or see all of it: `curate report`"
