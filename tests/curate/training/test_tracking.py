"""What a tracker is sent is what the row says, each step once; nothing is sent unasked."""

import importlib.util
import json
import sqlite3
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curate.errors import CurateError
from curate.progress import ShowProgress
from curate.tracking import tracked_by
from curate.training.finetune import train_generator
from curate.training.rl import rl_step
from curate.workspace import Workspace
from db import queries
from db.models import GeneratorVersion
from generators.errors import GeneratorError
from generators.rl.algorithms.base import Reward
from generators.rl.config import RLConfig
from generators.training.trackers import Tracker, flat, require_tracker
from tests.curate.training.conftest import quick_task
from tests.curate.training.test_watched import after_steps

TRACKIO_METRICS = "SELECT step, metrics FROM metrics ORDER BY step, id"
WITH_A_TRACKER = pytest.mark.apart


@pytest.fixture
def sent_to() -> Callable[[Path], Any]:
    """What TensorBoard itself reads back of the only training in a workspace."""
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="needs curate-images[tensorboard]",
    )

    def read(folder: Path) -> Any:
        [run] = (folder / "tensorboard").iterdir()
        sizes = {"scalars": 0, "images": 0, "tensors": 0}
        return accumulator.EventAccumulator(str(run), size_guidance=sizes).Reload()

    return read


def assert_sent(events: Any, tag: str, expected: list[tuple[int, float]]) -> None:
    """Each step once, in order, and float32 of each value."""
    found = events.Scalars(tag)
    assert [event.step for event in found] == [step for step, _ in expected], tag
    values = [value for _, value in expected]
    assert [event.value for event in found] == pytest.approx(values, rel=1e-6), tag


def show_nothing(after: int = 10_000) -> ShowProgress:
    def stop() -> None:
        raise KeyboardInterrupt

    return after_steps(after, stop)


@WITH_A_TRACKER
def test_a_training_that_was_stopped_half_way_is_in_tensorboard_once(
    pictures: Workspace, start: GeneratorVersion, sent_to: Callable[[Path], Any]
) -> None:
    task = quick_task(start, num_steps=6, checkpoint_every=3, validate_every=3)
    how: dict[str, Any] = {"say": lambda line: None}
    with tracked_by(["tensorboard"]):
        with pytest.raises(KeyboardInterrupt):
            train_generator(pictures, task, **how, show=show_nothing(4))
        made = train_generator(pictures, task, **how, show=show_nothing())
    events = sent_to(pictures.folder)
    assert made.metrics["losses_are_means_of_steps"] == 1
    losses = list(enumerate(made.metrics["losses"], 1))
    assert_sent(events, "loss", losses)
    assert {"grad_norm", "gradient_norm", "lr", "loss"} <= set(events.Tags()["scalars"])
    validated = [(row["step"], row["OCT"]) for row in made.metrics["validations"]]
    assert_sent(events, "validation/OCT", validated)
    assert [event.step for event in events.Images("samples")] == [0, 3, 6]
    assert any("version" in tag for tag in events.Tags()["tensors"])


@WITH_A_TRACKER
def test_an_rl_step_sends_trls_names_beside_its_own(
    workspace: Workspace,
    start: GeneratorVersion,
    small: Callable[..., RLConfig],
    brightness: Reward,
    sent_to: Callable[[Path], Any],
) -> None:
    prompt = queries.prompts.get_or_add_prompt(workspace.session, modality="OCT", text="drusen")
    config = small(num_updates=2)
    with tracked_by(["tensorboard"]):
        made = rl_step(workspace, config, start=start, prompts=[prompt], reward=brightness)
    events, updates = sent_to(workspace.folder), made.metrics["updates"]
    for theirs, ours in (
        ("reward_mean", "reward_mean"),
        ("reward_std", "reward_sd"),
        ("approx_kl", "kl"),
        ("clipfrac", "clipped_fraction"),
        ("loss", "loss"),
        ("spread_mean", "spread_mean"),
    ):
        values = [(row["update"] + 1, row[ours]) for row in updates if row[ours] is not None]
        assert_sent(events, theirs, values)
    assert [event.step for event in events.Images("samples")] == [0, 2]


def stopped_and_gone_on_with(pictures: Workspace, start: GeneratorVersion, name: str) -> Any:
    """Return the metrics of a training that was stopped after four of six steps, and its id."""
    task = quick_task(start, num_steps=6, checkpoint_every=3, validate_every=3)
    how: dict[str, Any] = {"say": lambda line: None}
    with tracked_by([name]):
        with pytest.raises(KeyboardInterrupt):
            train_generator(pictures, task, **how, show=show_nothing(4))
        return train_generator(pictures, task, **how, show=show_nothing())


@WITH_A_TRACKER
@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_mlflow_has_a_stopped_training_once(
    pictures: Workspace,
    start: GeneratorVersion,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs curate-images[mlflow]")
    place = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    monkeypatch.chdir(tmp_path)
    made = stopped_and_gone_on_with(pictures, start, "mlflow")
    client = mlflow.MlflowClient(place)
    [experiment] = [one for one in client.search_experiments() if one.name == "curate"]
    [run] = client.search_runs([experiment.experiment_id])
    losses = [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, "loss")]
    assert losses == list(enumerate(made.metrics["losses"], 1))
    assert run.data.params["version"] == made.id and run.info.status == "FINISHED"
    assert len(client.list_artifacts(run.info.run_id, "samples")) == 3


@WITH_A_TRACKER
@pytest.mark.filterwarnings("ignore")  # trackio's own
def test_trackio_has_a_stopped_training_once_with_its_settings(
    pictures: Workspace,
    start: GeneratorVersion,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when it is imported
    pytest.importorskip("trackio", reason="needs curate-images[trackio]")
    made = stopped_and_gone_on_with(pictures, start, "trackio")
    [file] = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(file) as database:
        rows = [(step, json.loads(said)) for step, said in database.execute(TRACKIO_METRICS)]
        [(settings,)] = database.execute("SELECT config FROM configs")
    losses = [(step, said["loss"]) for step, said in rows if "loss" in said]
    assert losses == list(enumerate(made.metrics["losses"], 1))
    assert [said["version"] for _, said in rows if "version" in said] == [made.id]
    assert [step for step, said in rows if "samples" in said] == [0, 3, 6]
    assert any(name.startswith("training.") for name in json.loads(settings))


@WITH_A_TRACKER
@pytest.mark.filterwarnings("ignore")  # W&B's own
def test_wandb_has_a_stopped_training_once_without_a_network(
    pictures: Workspace,
    start: GeneratorVersion,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("wandb", reason="needs curate-images[wandb]")
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    made = stopped_and_gone_on_with(pictures, start, "wandb")
    rows = [
        row for file in sorted(tmp_path.glob("wandb/offline-run-*/*.wandb")) for row in said(file)
    ]
    losses = [(row["_step"], row["loss"]) for row in rows if "loss" in row]
    assert losses == list(enumerate(made.metrics["losses"], 1))
    strips = [row["_step"] for row in rows if any(key.startswith("samples") for key in row)]
    assert strips == [0, 3, 6], [list(r) for r in rows]


def said(file: Path) -> list[dict[str, Any]]:
    """Return the rows of an offline run of W&B: records in blocks of 32 KiB, as LevelDB's log."""
    record = pytest.importorskip("wandb.proto.wandb_internal_pb2").Record
    content, place, whole, rows = file.read_bytes(), 7, b"", []  # after the file's header
    while place + 7 <= len(content):
        if (left := 32_768 - place % 32_768) < 7:
            place += left
            continue
        length, part = struct.unpack_from("<4xHB", content, place)
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if part in (1, 4):  # a whole record, or the last part of one
            items = record.FromString(whole).history.item
            keys = [one.key or ".".join(one.nested_key) for one in items]
            values = [json.loads(one.value_json) for one in items]
            rows += [dict(zip(keys, values, strict=True))] if items else []
            whole = b""
    return rows


def test_nothing_is_sent_or_imported_unasked(pictures: Workspace, start: GeneratorVersion) -> None:
    before = {name for name in sys.modules if "tensorboard" in name}
    train_generator(pictures, quick_task(start), say=lambda line: None, show=show_nothing())
    assert {name for name in sys.modules if "tensorboard" in name} == before
    assert not (pictures.folder / "tensorboard").exists()
    assert not list((pictures.folder / "runs").glob("*.sent"))


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed")
def test_a_tracker_that_is_not_installed_is_named_before_anything_begins(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match=r"pip install 'curate-images\[wandb\]'"):
        require_tracker("wandb")
    with pytest.raises(GeneratorError, match="wandb"):
        Tracker("wandb", "run", tmp_path, tmp_path / "sent")
    with pytest.raises(GeneratorError), tracked_by(["wandb"]):
        raise CurateError("this is not reached")


def test_settings_are_sent_flat_and_as_plain_values() -> None:
    nested = {"training": {"lr": 0.1, "size": None, "targets": ["q", "k"]}, "seed": 3}
    assert flat(nested) == {"training.lr": 0.1, "training.targets": "['q', 'k']", "seed": 3}
