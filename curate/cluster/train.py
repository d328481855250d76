"""Processes of a Ray cluster that train together, as `accelerate launch` would start them.

Ray Train places them, joins them (gloo; NCCL on GPUs) and notices when one is lost. Checkpoints are
the training's own, in the workspace: begun again, it goes on from the last one.
"""

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

from curate.cluster.joining import connected
from curate.errors import USER_ERRORS, CurateError

MAX_LOST = 5  # times in one call that a worker may be lost
Work = Callable[[], str | None]
Note = Callable[..., None]


def train_on_ray(
    work: Work, *, address: str, num_workers: int | None, folder: Path, note: Note
) -> str:
    """Do the work in `num_workers` processes at once; return what the first of them returns.

    Without a number there is one a GPU, or one a CPU where there is no GPU. The work is sent to
    them and finds its files there: `folder` (Ray Train's own notes) and whatever the work opens lie
    where every node sees them, under the same name. `address` as in `joining.connected`.

    A lost worker ends the others, `note(event, **details)` is told, and all begin again. Raises
    what a user can mend as it was raised in the worker.
    """
    packed: bytes = cloudpickle.dumps(work)  # type: ignore[no-untyped-call]
    # what workers say is shown on stderr: stdout is for the command's result
    with redirect_stdout(sys.stderr), connected(address, show_workers=True):
        trainer: Any = TorchTrainer(
            _run,  # type: ignore[arg-type]  # what it returns is in the result
            # as bytes: Ray Train's own processes need not import what the work is made of
            train_loop_config={"work": packed, "folder": os.getcwd()},
            torch_config=TorchConfig(),
            scaling_config=_places(num_workers),
            run_config=RunConfig(storage_path=str(folder)),
        )
        try:
            for _ in range(MAX_LOST):
                try:
                    return str(trainer.fit().return_value)
                except TrainingFailedError as error:
                    failure = _first_failure(error)
                    if isinstance(failure, USER_ERRORS):
                        raise failure from error
                    lost = " ".join(str(failure).split())
                    note("worker-lost", reason=lost[:200])
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # nothing in it is asked for again
    raise CurateError(f"{MAX_LOST} training workers were lost. Last error: {lost[-500:]}")


def _run(config: dict[str, Any]) -> str | None:
    """What a worker does; relative paths mean what they mean where the command was given."""
    os.chdir(config["folder"])
    work: Work = cloudpickle.loads(config["work"])
    return work()


def _first_failure(error: TrainingFailedError) -> BaseException:
    """Return what a user can mend, if a worker met it, else what happened first."""
    if not isinstance(error, WorkerGroupError):
        return error
    failures = [
        getattr(failure, "cause", None) or failure for failure in error.worker_failures.values()
    ]
    return next((one for one in failures if isinstance(one, USER_ERRORS)), failures[0])


def _places(num_workers: int | None) -> ScalingConfig:
    """Return where the workers go. Raises CurateError for more than the cluster has room for."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    kind = "GPU" if resources.get("GPU") else "CPU"
    room = int(resources.get(kind, 0))
    wanted = room if num_workers is None else num_workers
    if not 1 <= wanted <= room:
        raise CurateError(
            f"--ray-workers {wanted}: the Ray cluster has {room} {kind}s, and each "
            f"worker needs one."
        )
    needs = {"CPU": 1, kind: 1}
    return ScalingConfig(num_workers=wanted, use_gpu=kind == "GPU", resources_per_worker=needs)
