"""One training in a workspace: a start version, settings and images in, a new version out."""

import dataclasses
import resource
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from curate.errors import CurateError
from curate.production.plan import plan_run
from curate.production.run import run_plan
from curate.production.versions import load_version, save_version
from curate.progress import ShowProgress
from curate.tracking import tracking
from curate.training.book import Book
from curate.training.captions import captioned
from curate.training.config import LessonConfig
from curate.training.framing import refuse_sided_texts
from curate.training.grid import prompts_to_show, write_grid
from curate.training.kept_table import kept_table
from curate.training.kept_tensors import KeptTensors
from curate.training.long_captions import with_readable_captions
from curate.training.material import frame_of, frozen_parts_hash
from curate.training.selection import Selection, select_images
from curate.training.watched import stopped, watched
from curate.workspace import Workspace
from db import queries
from db.folders import unfinished_folder
from db.hashing import json_hash
from db.models import GeneratorVersion
from db.models import Prompt as PromptRow
from db.queries.versions import CHECKPOINT, TRAINED, MadeOf
from generators.base import Trainable, require_trainable
from generators.captioner import load_captioner
from generators.config import SamplingSettings
from generators.lora import is_adapted
from generators.training.config import TrainingConfig
from generators.training.history import History
from generators.training.lesson import Lesson
from generators.training.loop import Trained, train
from generators.training.processes import Processes, joined_processes
from generators.training.weights import Weights

Say = Callable[[str], None]
LOSSES_KEPT = 200  # points of the loss curve that the version's row keeps
REPLAYED_TO_VALIDATE = 2  # images of each replayed prompt that are held out


@dataclass(frozen=True)
class TrainingTask:
    """All that decides a training."""

    start: GeneratorVersion
    training: TrainingConfig
    lesson: LessonConfig
    replay_prompts: Sequence[PromptRow] = ()  # for replay "prompts"


def train_generator(
    ws: Workspace, task: TrainingTask, *, say: Say, show: ShowProgress
) -> GeneratorVersion:
    """Fine-tune the start version on the workspace's images; return the new version, its child.

    Stopped anywhere, even by SIGKILL, the same call goes on after the last checkpoint and ends with
    the same weights. Done before on the same images, it returns what it made then. Raises
    CurateError when `curate runs stop` ended it early.
    """
    processes = joined_processes()
    with processes.first_goes_ahead():
        ready = _prepare(ws, task, say=say, show=show)
    known = queries.versions.find_trained_version(
        ws.session, parent_id=ready.start_id, config=ready.made_with
    )
    ws.session.commit()  # no transaction stays open through the training, and no row is read in it
    if known is not None:
        return known
    trained = _trained(ws, task, ready, processes, show)
    if not trained.is_finished:
        raise stopped(trained.history.num_steps, task.training.num_steps)
    if processes.is_first:
        version = _save(ws, trained, task, ready)
        with tracking(ws, "train-generator", ready.key, ready.made_with) as tracked:
            tracked.result(version.id)
        shutil.rmtree(run_folder(ws, ready.key))  # done: the version's row has the log
    processes.wait()
    made = queries.versions.find_trained_version(
        ws.session, parent_id=ready.start_id, config=ready.made_with
    )
    assert made is not None  # the first process has just written it
    return made


@dataclass(frozen=True)
class _Ready:
    """What a training needs, computed and kept; no row, which a lost database would empty."""

    start_id: str
    generator_name: str
    generator: Trainable
    chosen: Selection
    lesson: Lesson
    made_with: dict[str, Any]
    key: str  # of this very training


def _prepare(ws: Workspace, task: TrainingTask, *, say: Say, show: ShowProgress) -> _Ready:
    start_id, generator_name = task.start.id, task.start.generator_name
    if task.lesson.keep_every % task.training.validate_every:
        raise CurateError(
            f"--keep-every {task.lesson.keep_every} is no multiple of --validate-every "
            f"{task.training.validate_every}: weights are kept when they are validated."
        )
    generator = _at_size(require_trainable(load_version(ws, start_id)), task)
    kept = KeptTensors(ws)
    chosen = _select(ws, task, kept, say, show)
    policy = task.lesson.long_captions
    chosen = with_readable_captions(ws, chosen, generator.conditioner, policy, say)
    frame = frame_of(generator, task.lesson, frozen_parts_hash(ws, task.start))
    book = Book(ws, chosen, frame, task.lesson, task.training)
    made_with = {
        "training": task.training.to_json(),
        "lesson": task.lesson.to_json(),
        "examples": json_hash(book.fingerprint()),
    }
    key = json_hash([start_id, made_with])
    lesson = book.lesson(generator, kept, show)
    return _Ready(start_id, generator_name, generator, chosen, lesson, made_with, key)


def run_folder(ws: Workspace, key: str) -> Path:
    """Return where this very training keeps its checkpoint and its log, `steps.jsonl`."""
    return ws.cache / "train-generator" / key


def grid_folder(ws: Workspace, key: str) -> Path:
    """Return where its sample images go."""
    return ws.folder / "reports" / "train-generator" / key[:12]


def _at_size(generator: Trainable, task: TrainingTask) -> Trainable:
    """Return the generator for squares of `size` pixels; full weights only, they carry the size."""
    if task.lesson.size is None:
        return generator
    with torch.no_grad():
        blank = torch.zeros(1, *generator.latent_shape)
        own = generator.codec.decode(blank).shape[-1]
    if task.lesson.size == own:
        return generator
    side, rest = divmod(task.lesson.size * generator.latent_shape[-1], own)
    if rest or task.training.lora_rank:
        raise CurateError(
            f"--size {task.lesson.size}: this generator makes {own} pixels. Another size needs "
            f"full weights (--lora-rank 0) and a multiple of {own // generator.latent_shape[-1]}."
        )
    generator.denoiser.network.register_to_config(sample_size=side)
    generator.latent_shape = (generator.latent_shape[0], side, side)
    return generator


def _select(
    ws: Workspace, task: TrainingTask, kept: KeptTensors, say: Say, show: ShowProgress
) -> Selection:
    chosen = select_images(ws, task.lesson)
    for note in chosen.notes:
        say(f"Note: {note}")
    if chosen.to_caption:
        assert task.lesson.captioner is not None  # else there would be none without a text
        captioner = load_captioner(task.lesson.captioner)
        texts = {
            image.file_sha256: image
            for image in captioned(ws, kept, captioner, chosen.to_caption, show)
        }
        learned = [i if i.text else texts[i.file_sha256] for i in chosen.learned]
        chosen = dataclasses.replace(chosen, learned=learned, to_caption=list(texts.values()))
    if task.lesson.mirror:
        refuse_sided_texts(i.text for i in (*chosen.learned, *chosen.replayed))
    if task.lesson.replay == "prompts":
        chosen = _with_replayed_prompts(ws, task, chosen, show)
    if not chosen.validated:
        say("Note: no image is held out, so there is no validation: see --validation-share")
    return chosen


def _with_replayed_prompts(
    ws: Workspace, task: TrainingTask, chosen: Selection, show: ShowProgress
) -> Selection:
    """Let the start version show what it knows; some of it is held out to see what is kept."""
    if not task.replay_prompts:
        raise CurateError("--replay prompts needs --replay-prompts FILE: what shall be kept.")
    count = task.lesson.replay_count
    run = plan_run(
        ws,
        task.start,
        task.replay_prompts,
        count=count + REPLAYED_TO_VALIDATE,
        settings=SamplingSettings(num_steps=task.lesson.sample_steps),
    )
    with show(run.num_items, "images to replay") as advance:
        run_plan(ws, run, advance)
    settings_hash = json_hash(run.settings)
    items = queries.runs.images_of_run(ws.session, run, settings_hash)
    made = queries.images.images_to_learn(
        ws.session, origin="synthetic", image_ids={item.id for item in items}
    )
    return dataclasses.replace(
        chosen,
        replayed=[image for image in made if (image.seed or 0) < count],
        validated=[*chosen.validated, *(i for i in made if (i.seed or 0) >= count)],
    )


def _trained(
    ws: Workspace, task: TrainingTask, ready: _Ready, processes: Processes, show: ShowProgress
) -> Trained:
    config, lesson = task.lesson, ready.lesson
    everyone = [example.prompt for pool in lesson.pools for example in pool.examples]
    shown = prompts_to_show(everyone, config.num_samples)

    def look_on(weights: Weights, step: int) -> None:
        if shown:
            path = grid_folder(ws, ready.key) / f"step-{step:06}.png"
            write_grid(weights.generator, shown, config.sample_steps, path)
            tracked.strip(step, path)
        is_between = 0 < step < task.training.num_steps
        if is_between and config.keep_every and step % config.keep_every == 0:
            made_of = MadeOf(ready.start_id, config={**ready.made_with, "step": step})
            _save_version(ws, weights, ready, CHECKPOINT, made_of)

    def report(history: History) -> None:
        tracked.history(history, task.training)
        watcher.report(history)

    folder = run_folder(ws, ready.key)
    made_with, is_first = {**ready.made_with, "start": ready.start_id}, processes.is_first
    with (
        tracking(ws, "train-generator", ready.key, made_with, is_told=is_first) as tracked,
        show(task.training.num_steps, "steps") as advance,
        watched(ws, ready.key, task.training, folder, processes, advance) as watcher,
    ):
        return train(
            ready.generator,
            lesson,
            task.training,
            folder=folder,
            report=report,
            look_on=look_on,
            listen=watcher.listen,
        )


def _save(ws: Workspace, trained: Trained, task: TrainingTask, ready: _Ready) -> GeneratorVersion:
    made_of = MadeOf(
        ready.start_id,
        config=ready.made_with,
        metrics=_metrics(ws, trained, task, ready),
        told={"steps": trained.history.num_steps, "images": len(ready.chosen.learned)},
    )
    return _save_version(ws, trained.weights, ready, TRAINED, made_of)


def _save_version(
    ws: Workspace, weights: Weights, ready: _Ready, how_made: str, made_of: MadeOf
) -> GeneratorVersion:
    """Keep the averaged weights as a version: what did not learn is in the store already."""
    with unfinished_folder(ws.cache / "unfinished", "weights-") as folder:
        weights.save_result(folder)
        kind = "lora" if is_adapted(weights.generator) else "full"
        return save_version(
            ws,
            folder,
            generator_name=ready.generator_name,
            family=weights.generator.family,
            how_made=how_made,
            made_of=dataclasses.replace(made_of, weights=kind),
        )


def _metrics(ws: Workspace, trained: Trained, task: TrainingTask, ready: _Ready) -> dict[str, Any]:
    chosen = ready.chosen
    history = trained.history
    first, last = history.validations[0], history.validations[-1]
    new = {image.modality for image in chosen.learned}
    device = trained.weights.generator.device
    if device.type == "cuda":
        peak_bytes = torch.cuda.max_memory_allocated(device)
    else:  # Linux counts in KiB
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    every = max(1, history.num_steps // LOSSES_KEPT)
    samples = grid_folder(ws, ready.key)
    return {
        "num_steps": history.num_steps,
        "losses": [
            sum(part) / len(part)
            for start in range(0, history.num_steps, every)
            if (part := history.losses[start : start + every])
        ],
        "losses_are_means_of_steps": every,
        "validations": [
            {"step": one.step, **{g: sum(v) / len(v) for g, v in one.losses.items()}}
            for one in history.validations
        ],
        "kept": [row.to_json() for row in kept_table(first, last, new)],
        "num_images": {
            "learned": len(chosen.learned),
            "replayed": len(chosen.replayed),
            "validated": len(chosen.validated),
        },
        "captions": {image.file_sha256: image.text for image in chosen.to_caption},
        "seconds": history.seconds,
        "images_per_second": history.num_steps * task.training.batch_size / history.seconds,
        "device": device.type,
        "peak_bytes": peak_bytes,
        "samples": str(samples.relative_to(ws.folder)) if task.lesson.num_samples else None,
    }
