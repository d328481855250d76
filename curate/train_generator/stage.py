"""One training in a workspace: a start version, settings and images in, a new version out."""

import dataclasses
import resource
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from curate.errors import CurateError
from curate.generate import plan_run, run_plan
from curate.generators_store import load_version, save_version
from curate.pixels import array_of, to_rgb_tensor
from curate.progress import Advance, ShowProgress
from curate.train_generator.captions import captioned
from curate.train_generator.config import LessonConfig
from curate.train_generator.framing import refuse_sided_texts
from curate.train_generator.grid import prompts_to_show, write_grid
from curate.train_generator.kept_table import kept_table
from curate.train_generator.kept_tensors import KeptTensors
from curate.train_generator.material import (
    Frame,
    KeptEmbeddings,
    frame_of,
    frozen_parts_hash,
    keep_latents,
)
from curate.train_generator.selection import Selection, select_images
from curate.workspace import Workspace
from db import queries, queries_generate, queries_training
from db.models import GeneratorVersion
from db.models import Prompt as PromptRow
from db.queries_training import ImageToLearn
from generators.base import Generator, Prompt
from generators.captioner import load_captioner
from generators.config import SamplingSettings
from generators.training.checkpoint import History
from generators.training.config import TrainingConfig
from generators.training.lesson import Drop, Example, Lesson, Pool, shown_prompt
from generators.training.loop import Trained, train
from generators.training.team import Team

Say = Callable[[str], None]
LOSSES_KEPT = 200  # points of the loss curve that the version's row keeps
REPLAYED_TO_VALIDATE = 2  # images of each replayed prompt that are held out


@dataclass(frozen=True)
class Task:
    """All that decides a training."""

    start: GeneratorVersion
    training: TrainingConfig
    lesson: LessonConfig
    replay_prompts: Sequence[PromptRow] = ()  # for replay "prompts"


def train_generator(ws: Workspace, task: Task, *, say: Say, show: ShowProgress) -> GeneratorVersion:
    """Fine-tune the start version on the workspace's images; return the new version, its child.

    Stopped anywhere, even by SIGKILL, the same call goes on after the last checkpoint and ends with
    the same weights. Done before on the same images, it returns what it made then.
    """
    team = Team()
    generator = _at_size(load_version(ws, task.start.id), task)
    kept = KeptTensors(ws)
    if not team.is_main:
        team.wait()  # until what is computed once is computed
    pictures = _select(ws, task, kept, say if team.is_main else lambda line: None, show)
    frame = frame_of(generator, task.lesson, frozen_parts_hash(ws, task.start))
    book = _Book(ws, pictures, frame, task)
    made_with = {
        "training": task.training.to_json(),
        "lesson": task.lesson.to_json(),
        "examples": queries.json_hash([book.fingerprint(), task.training.batch_size]),
    }
    known = queries_training.find_trained_version(
        ws.session, parent_id=task.start.id, config=made_with
    )
    if known is not None:
        return known
    lesson = book.lesson(generator, kept, show)
    if team.is_main:
        team.wait()
    key = queries.json_hash([task.start.id, made_with])
    ws.session.commit()  # no transaction stays open through the training
    trained = _trained(ws, task, generator, lesson, key, show)
    if team.is_main:
        _save(ws, trained, task, made_with, pictures)
    team.wait()
    found = queries_training.find_trained_version(
        ws.session, parent_id=task.start.id, config=made_with
    )
    assert found is not None  # the main process has just written it
    if team.is_main:
        shutil.rmtree(run_folder(ws, key))  # done: the version's row has the log
    return found


def run_folder(ws: Workspace, key: str) -> Path:
    """Return where this very training keeps its checkpoint and its log, `steps.jsonl`."""
    return ws.cache / "train-generator" / key


def grid_folder(ws: Workspace, key: str) -> Path:
    """Return where its sample images go."""
    return ws.folder / "reports" / "train-generator" / key[:12]


def _at_size(generator: Generator, task: Task) -> Generator:
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
    generator.denoiser.unet.register_to_config(sample_size=side)
    return dataclasses.replace(generator, latent_shape=(generator.latent_shape[0], side, side))


def _select(
    ws: Workspace, task: Task, kept: KeptTensors, say: Say, show: ShowProgress
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
        say("Note: no image is held out, so that nothing is validated: see --validation-share")
    return chosen


def _with_replayed_prompts(
    ws: Workspace, task: Task, chosen: Selection, show: ShowProgress
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
    settings_hash = queries.json_hash(run.settings)
    items = queries_generate.images_of_run(ws.session, run, settings_hash)
    made = queries_training.images_to_learn(
        ws.session, origin="synthetic", image_ids={item.id for item in items}
    )
    return dataclasses.replace(
        chosen,
        replayed=[image for image in made if (image.seed or 0) < count],
        validated=[*chosen.validated, *(i for i in made if (i.seed or 0) >= count)],
    )


class _Book:
    """The chosen images as examples: with their prompts and the keys of their latents."""

    def __init__(self, ws: Workspace, chosen: Selection, frame: Frame, task: Task) -> None:
        self._ws, self._frame, self._task = ws, frame, task
        self.chosen = chosen
        everything = (*chosen.learned, *chosen.replayed, *chosen.validated)
        ids = list(dict.fromkeys(image.prompt_id for image in everything))
        self._conditions = queries_training.condition_files(ws.session, ids)
        self._prompts: dict[tuple[str, str], Prompt] = {}
        mirror = task.lesson.mirror
        self.learned = [self._example(image, mirror) for image in chosen.learned]
        self.replayed = [self._example(image, mirror) for image in chosen.replayed]
        self.validated = [self._example(image, False) for image in chosen.validated]

    def _example(self, image: ImageToLearn, mirror: bool) -> Example:
        file = image.file_sha256
        synthetic = image.origin == "synthetic" and self._task.lesson.replay == "prompts"
        return Example(
            image=self._frame.key(file),
            prompt=self._prompt(image),
            group=f"{image.modality} (replayed)" if synthetic else image.modality,
            mirrored=self._frame.key(file, mirrored=True) if mirror else None,
        )

    def _prompt(self, image: ImageToLearn) -> Prompt:
        known = (image.prompt_id, image.text)  # a captioned image has a text of its own
        if known not in self._prompts:
            roles = self._conditions.get(image.prompt_id, {})
            images = {
                role: to_rgb_tensor(array_of(self._ws.store.get(sha)))
                for role, sha in roles.items()
            }
            self._prompts[known] = Prompt(
                image.modality, image.text, image.label, image.record, images
            )
        return self._prompts[known]

    def fingerprint(self) -> list[list[list[str]]]:
        """Return what tells this book from another: every image's key with its words, in order."""
        parts = (self.learned, self.replayed, self.validated)
        return [
            [[one.image, one.prompt.modality, one.prompt.text] for one in part] for part in parts
        ]

    def lesson(self, generator: Generator, kept: KeptTensors, show: ShowProgress) -> Lesson:
        """Compute what is not kept yet, and return what the training reads."""
        everything = (*self.chosen.learned, *self.chosen.replayed, *self.chosen.validated)
        mirror = (False, True) if self._task.lesson.mirror else (False,)
        latents = {
            self._frame.key(image.file_sha256, mirrored=side): (image.file_sha256, side)
            for image in everything
            for side in mirror
        }
        keep_latents(self._ws, kept, generator, self._frame, latents, show)
        embeddings = KeptEmbeddings(kept, generator, self._frame.codec_id)
        if not self._task.training.train_text_encoder:
            embeddings.fill(self._shown_prompts(), show)
        replays = bool(self.replayed)
        share = self._task.lesson.replay_share
        pools = [Pool(self.learned, 1 - share if replays else 1.0)]
        return Lesson(
            pools=[*pools, Pool(self.replayed, share)] if replays else pools,
            validation=self.validated,
            latents=kept.__getitem__,
            embed=embeddings,
        )

    def _shown_prompts(self) -> list[Prompt]:
        """Return every prompt in every form that a step may show it in."""
        config = self._task.training
        drops = [Drop.NOTHING]
        drops += [Drop.TEXT] if config.drop_text else []
        drops += [Drop.MODALITY] if config.drop_modality else []
        return [shown_prompt(prompt, drop) for prompt in self._prompts.values() for drop in drops]


def _trained(
    ws: Workspace,
    task: Task,
    generator: Generator,
    lesson: Lesson,
    key: str,
    show: ShowProgress,
) -> Trained:
    config = task.lesson
    everyone = [example.prompt for pool in lesson.pools for example in pool.examples]
    shown = prompts_to_show(everyone, config.num_samples)
    folder = run_folder(ws, key)

    def look_on(generator: Generator, step: int) -> None:
        if shown:
            path = grid_folder(ws, key) / f"step-{step:06}.png"
            write_grid(generator, shown, config.sample_steps, path)

    with show(task.training.num_steps, "steps") as advance:
        return train(
            generator,
            lesson,
            task.training,
            folder=folder,
            report=_reporter(advance),
            look_on=look_on,
        )


def _reporter(advance: Advance) -> Callable[[History], None]:
    num_shown = 0

    def report(history: History) -> None:
        nonlocal num_shown  # what an earlier, stopped call did counts at once
        advance(history.num_steps - num_shown)
        num_shown = history.num_steps

    return report


def _save(
    ws: Workspace,
    trained: Trained,
    task: Task,
    made_with: dict[str, Any],
    pictures: Selection,
) -> None:
    with tempfile.TemporaryDirectory(dir=ws.cache) as temporary:
        trained.trainee.save_result(Path(temporary))
        version = save_version(
            ws,
            Path(temporary),
            generator_name=task.start.generator_name,
            family=trained.trainee.generator.family,
            how_made="train-generator",
            parent_id=task.start.id,
            weights="lora" if task.training.lora_rank else "full",
            config=made_with,
            metrics=_metrics(ws, trained, task, made_with, pictures),
        )
    details = {
        "version": version.id,
        "start": task.start.id,
        "steps": trained.history.num_steps,
        "images": len(pictures.learned),
    }
    queries.record_event(ws.session, "train-generator", details)


def _metrics(
    ws: Workspace,
    trained: Trained,
    task: Task,
    made_with: dict[str, Any],
    pictures: Selection,
) -> dict[str, Any]:
    history = trained.history
    first, last = history.validations[0], history.validations[-1]
    new = {image.modality for image in pictures.learned}
    device = trained.trainee.generator.device
    every = max(1, history.num_steps // LOSSES_KEPT)
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
            "learned": len(pictures.learned),
            "replayed": len(pictures.replayed),
            "validated": len(pictures.validated),
        },
        "captions": {image.file_sha256: image.text for image in pictures.to_caption},
        "seconds": history.seconds,
        "images_per_second": history.num_steps * task.training.batch_size / history.seconds,
        "device": device.type,
        "peak_bytes": _peak_bytes(device),
        "samples": str(
            grid_folder(ws, queries.json_hash([task.start.id, made_with])).relative_to(ws.folder)
        ),
    }


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
