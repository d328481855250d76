import dataclasses
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from curate.errors import CurateError
from curate.production.plan import plan_run
from curate.production.run import run_plan
from curate.production.versions import load_version
from curate.samples.pixels import array_of
from curate.training.config import LessonConfig
from curate.training.finetune import TrainingTask, train_generator
from curate.workspace import Workspace, open_workspace
from db import queries
from db.models import GeneratorVersion
from generators import captioner as captioners
from generators.base import require_trajectory
from generators.config import SamplingSettings
from tests.curate.training.conftest import add_pictures, quick_task

pytestmark = pytest.mark.slow  # a training or two each

LESSON = LessonConfig(num_samples=0)  # the first test looks at samples


class Stopped(Exception):
    """Stands for a kill."""


@contextmanager
def silent(total: int, what: str) -> Iterator[Any]:
    yield lambda count: None


def trained(ws: Workspace, task: TrainingTask, notes: list[str] | None = None) -> GeneratorVersion:
    say = (lambda line: None) if notes is None else notes.append
    return train_generator(ws, task, say=say, show=silent)


def test_a_training_makes_a_version_that_tells_how_it_was_made(
    pictures: Workspace, start: GeneratorVersion
) -> None:
    made = trained(pictures, quick_task(start))
    assert (made.parent_id, made.how_made, made.weights) == (start.id, "train-generator", "full")
    assert made.config["training"]["num_steps"] == 4
    assert made.metrics["num_images"] == {"learned": 10, "replayed": 0, "validated": 4}
    assert [one["step"] for one in made.metrics["validations"]] == [0, 2, 4]
    assert {row["group"] for row in made.metrics["kept"]} == {"OCT", "CXR"}
    grids = sorted((pictures.folder / made.metrics["samples"]).iterdir())
    assert [path.name for path in grids] == [f"step-{step:06}.png" for step in (0, 2, 4)]
    assert array_of(grids[0].read_bytes()).shape == (16, 64, 3)  # two images, a row of four
    assert not list((pictures.cache / "train-generator").iterdir())


def test_the_new_version_makes_other_images_than_its_parent(
    pictures: Workspace, start: GeneratorVersion
) -> None:
    made = trained(pictures, quick_task(start, LESSON, ema_decay=0.0))
    prompt = queries.prompts.get_or_add_prompt(pictures.session, modality="OCT", text="drusen")
    for version in (start, made):
        settings = SamplingSettings(num_steps=2, batch_size=1)
        run_plan(
            pictures,
            plan_run(pictures, version, [prompt], count=1, settings=settings),
            lambda n: None,
        )
    images = queries.images.images(pictures.session, origin="synthetic")
    assert len({image.pixels_sha256 for image, _ in images}) == 2


def test_adapters_are_kept_as_adapters(pictures: Workspace, start: GeneratorVersion) -> None:
    made = trained(pictures, quick_task(start, LESSON, lora_rank=2))
    assert made.weights == "lora"
    files = queries.versions.version_files(pictures.session, made.id)
    assert list(files) == ["pytorch_lora_weights.safetensors"]


def test_stopped_and_begun_again_it_makes_the_version_that_it_would_have_made(
    pictures: Workspace, start: GeneratorVersion, tmp_path: Path
) -> None:
    shutil.copytree(pictures.folder, tmp_path / "copy")
    with open_workspace(tmp_path / "copy") as copy:
        start_there = copy.session.get_one(GeneratorVersion, start.id)
        whole = trained(copy, quick_task(start_there)).id  # a hash of the weights

    @contextmanager
    def stopping(total: int, what: str) -> Iterator[Any]:
        left = {"steps": 2}.get(what, 10**9)

        def advance(count: int) -> None:
            nonlocal left
            left -= count
            if left < 0:
                raise Stopped

        yield advance

    with pytest.raises(Stopped):
        train_generator(pictures, quick_task(start), say=lambda line: None, show=stopping)
    assert list((pictures.cache / "train-generator").iterdir())  # something to go on from
    resumed = trained(pictures, quick_task(start))
    assert resumed.metrics["num_steps"] == 4
    assert resumed.id == whole


def test_the_same_training_again_returns_the_version_that_is_there(
    pictures: Workspace, start: GeneratorVersion
) -> None:
    made = trained(pictures, quick_task(start, LESSON))
    notes: list[str] = []
    assert trained(pictures, quick_task(start, LESSON), notes).id == made.id
    add_pictures(pictures, "OCT", "scar", 1, "train")  # another set of images: another training
    assert trained(pictures, quick_task(start, LESSON)).id != made.id


def test_latents_and_texts_are_computed_once(
    pictures: Workspace, start: GeneratorVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(pictures, quick_task(start, LESSON))
    generator = require_trajectory(load_version(pictures, start.id))
    looked_at: list[int] = []
    encode = type(generator.codec).encode

    def watched(codec: object, images: torch.Tensor) -> torch.Tensor:
        looked_at.append(1)
        return encode(codec, images)  # type: ignore[arg-type]

    monkeypatch.setattr(type(generator.codec), "encode", watched)
    trained(pictures, quick_task(start, LESSON, seed=1))
    assert looked_at == []


def test_named_modalities_are_learned_and_the_others_watched(
    pictures: Workspace, start: GeneratorVersion
) -> None:
    lesson = dataclasses.replace(LESSON, modalities=("oct",))  # in any spelling
    made = trained(pictures, quick_task(start, lesson))
    assert made.metrics["num_images"]["learned"] == 6
    assert [(row["group"], row["is_new"]) for row in made.metrics["kept"]] == [
        ("OCT", True),
        ("CXR", False),
    ]


def test_old_images_are_replayed(pictures: Workspace, start: GeneratorVersion) -> None:
    lesson = dataclasses.replace(LESSON, modalities=("OCT",), replay="images")
    made = trained(pictures, quick_task(start, lesson))
    assert made.metrics["num_images"] == {"learned": 6, "replayed": 4, "validated": 4}


def test_old_prompts_are_replayed_by_the_start_version(
    pictures: Workspace, start: GeneratorVersion
) -> None:
    prompt = queries.prompts.get_or_add_prompt(pictures.session, modality="Fundus", text="healthy")
    lesson = dataclasses.replace(LESSON, modalities=("OCT",), replay="prompts", replay_count=3)
    task = dataclasses.replace(quick_task(start, lesson), replay_prompts=[prompt])
    made = trained(pictures, task)
    assert made.metrics["num_images"]["replayed"] == 3
    assert {row["group"]: row["num"] for row in made.metrics["kept"]}["Fundus (replayed)"] == 2
    with pytest.raises(CurateError, match="--replay-prompts FILE"):
        trained(pictures, quick_task(start, lesson))


def test_a_mirrored_image_is_refused_where_a_text_names_a_side(
    pictures: Workspace, start: GeneratorVersion
) -> None:
    lesson = dataclasses.replace(LESSON, mirror=True)
    assert trained(pictures, quick_task(start, lesson)).metrics["num_images"]["learned"] == 10
    add_pictures(pictures, "CXR", "nodule, left upper lobe", 1, "train")
    with pytest.raises(CurateError, match="1 texts name a side .'nodule, left upper lobe'"):
        trained(pictures, quick_task(start, lesson))


def test_another_size_is_learned_and_kept(pictures: Workspace, start: GeneratorVersion) -> None:
    lesson = dataclasses.replace(LESSON, size=8, num_samples=2, sample_steps=2)
    made = trained(pictures, quick_task(start, lesson, num_steps=1))
    assert load_version(pictures, made.id).output.shape == (3, 8, 8)
    for bad in (dataclasses.replace(LESSON, size=9), lesson):
        rank = {} if bad.size == 9 else {"lora_rank": 2}
        with pytest.raises(CurateError, match="makes 16 pixels"):
            trained(pictures, quick_task(start, bad, **rank))


def test_without_images_it_says_what_to_do(workspace: Workspace, start: GeneratorVersion) -> None:
    with pytest.raises(CurateError, match="0 real images in the workspace.*Import some"):
        trained(workspace, quick_task(start, LESSON))


def test_a_modality_that_no_image_has_is_refused_with_those_that_there_are(
    pictures: Workspace, start: GeneratorVersion
) -> None:
    lesson = dataclasses.replace(LESSON, modalities=("PET",))
    with pytest.raises(CurateError, match=r"of PET: 14 real images .*\(CXR, OCT\)"):
        trained(pictures, quick_task(start, lesson))


class Parrot:
    """A captioner of another package."""

    name = "parrot"
    id = "parrot 1"

    def __call__(self, image_3HW: torch.Tensor) -> str:
        return f"mean {image_3HW.mean():.3f}"


def test_images_without_a_text_are_left_out_or_captioned(
    pictures: Workspace, start: GeneratorVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_pictures(pictures, "OCT", "", 3, None)
    notes: list[str] = []
    made = trained(pictures, quick_task(start, LESSON), notes)
    assert made.metrics["num_images"]["learned"] == 10
    assert "Note: 3 images without a text are left out: see --captioner" in notes

    class Point:
        name = "parrot"

        def load(self) -> Any:
            return Parrot

    monkeypatch.setattr(captioners, "entry_points", lambda group: [Point()])
    lesson = dataclasses.replace(LESSON, captioner="parrot", validation_share=0.0)
    made = trained(pictures, quick_task(start, lesson))
    assert made.metrics["num_images"]["learned"] == 13
    assert len(made.metrics["captions"]) == 3
    assert all(re.fullmatch(r"mean 0\.\d{3}", text) for text in made.metrics["captions"].values())


def test_generated_images_are_learned_with_their_prompts(
    pictures: Workspace, start: GeneratorVersion
) -> None:
    prompt = queries.prompts.get_or_add_prompt(pictures.session, modality="OCT", text="drusen")
    settings = SamplingSettings(num_steps=2, batch_size=2)
    run = plan_run(pictures, start, [prompt], count=2, settings=settings)
    run_plan(pictures, run, lambda n: None)
    notes: list[str] = []
    lesson = dataclasses.replace(LESSON, real=False, synthetic=True, validation_share=0.0)
    made = trained(pictures, quick_task(start, lesson), notes)
    assert made.metrics["num_images"]["learned"] == 2
    assert any("its own mistakes" in note for note in notes)


def test_a_workspace_of_another_machine_s_paths_trains_too(
    pictures: Workspace, start: GeneratorVersion, tmp_path: Path
) -> None:
    """What a training reads is in the store: the cache may go at any time."""
    import shutil

    first = trained(pictures, quick_task(start, LESSON))
    shutil.rmtree(pictures.cache)
    pictures.cache.mkdir()
    second = trained(pictures, quick_task(start, LESSON, seed=1))
    assert first.id != second.id


def test_a_training_reads_no_row_while_it_lasts(
    pictures: Workspace, start: GeneratorVersion
) -> None:
    """A lost database empties rows: who reads one then asks for a connection that is not there."""

    @contextmanager
    def emptying(total: int, what: str) -> Iterator[Any]:
        def advance(count: int) -> None:
            if what == "steps" and start in pictures.session:
                pictures.session.expire(start)
                pictures.session.expunge(start)

        yield advance

    parent_id = start.id
    made = train_generator(
        pictures, quick_task(start, LESSON), say=lambda line: None, show=emptying
    )
    assert (made.parent_id, made.generator_name) == (parent_id, "tiny")
