"""Work that may be shared on Ray, which is an extra: `--ray auto` or an address."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from curate.errors import CurateError
from curate.production.config import GenerateOptions, RayConfig
from curate.production.plan import Plan
from curate.production.run import Generated, run_plan
from curate.progress import Advance, progress
from curate.scoring.config import ScoreOptions
from curate.scoring.score import Scored, Which, count_scored, score_images
from curate.tracking import TRACKERS, tracked_by
from curate.workspace import Workspace, open_workspace
from db import queries
from db.models import GeneratorVersion

Make = Callable[[Workspace], GeneratorVersion | None]


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


def maker_of_runs(options: GenerateOptions) -> Callable[[Workspace, Plan, Advance], Generated]:
    """Return what makes a run's images where the options say: on a device here, or on a cluster."""
    if options.ray.address is None:
        return partial(run_plan, device=options.device)
    with ray_installed():
        from curate.cluster.generate import run_plan_on_ray
    return partial(run_plan_on_ray, address=options.ray.address)


def version_made_on_ray(ws: Workspace, make: Make, ray: RayConfig) -> GeneratorVersion:
    """Do `make(ws)` in several processes of a Ray cluster that train together.

    Each opens the workspace itself: its folder is one that every node sees under the same name.
    What `make` names must mean the same once its result is kept: no "latest".
    """
    with ray_installed():
        from curate.cluster.train import train_on_ray
    assert ray.address is not None
    ws.session.commit()
    folder, trackers = ws.folder, TRACKERS.get()  # workers are sent no open workspace

    def work() -> str | None:
        with open_workspace(folder) as own, tracked_by(trackers):
            made = make(own)
            return None if made is None else made.id

    version_id = train_on_ray(
        work,
        address=ray.address,
        num_workers=ray.num_workers,
        folder=ws.cache / "ray-train",
        note=tell_event,
    )
    return queries.versions.find_version(ws.session, version_id)


def score(ws: Workspace, options: ScoreOptions, *, ray: str | None = None) -> Scored:
    """Score what has no score of this model yet, showing progress, here or on a Ray cluster."""
    row = queries.reward_models.find_reward_model(ws.session, options.reward_model)
    version_id = (
        queries.versions.find_version(ws.session, options.version).id if options.version else None
    )
    which = Which(version_id=version_id, origin=options.origin)
    num_images, num_scored = count_scored(ws, row, which)
    with progress(num_images - num_scored, "images") as advance:
        if ray is None or num_images == num_scored:
            return score_images(ws, row, advance=advance, which=which)
        with ray_installed():
            from curate.cluster.score import score_images_on_ray
        return score_images_on_ray(
            ws, row, advance=advance, address=ray, note=tell_event, which=which
        )
