"""What a training is told of images that are made from other images."""

import gc

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlmodel import select

from curate.production.images import prompt_values
from curate.samples.pixels import pixels_hash, png_bytes
from curate.samples.renderings import rgb
from curate.training.book import Book
from curate.training.config import LessonConfig
from curate.training.material import Frame
from curate.training.selection import select_images
from curate.workspace import Workspace
from db import queries
from db.models import Image, Prompt
from generators.sample import Sample
from generators.training.config import TrainingConfig
from tests.curate.training.conftest import add_pictures


def kept(ws: Workspace, levels: NDArray[np.uint8]) -> str:
    [sha256] = queries.files.add_files(ws.session, ws.store, [(png_bytes(levels), "image/png")])
    return sha256


def add_conditioned(ws: Workspace, levels: NDArray[np.uint8], **conditions: str) -> None:
    """Add a picture whose prompt has these images, by role."""
    prompt = queries.prompts.get_or_add_prompt(
        ws.session, modality="OCT", text="drusen", conditions=conditions
    )
    image = Image(
        file_sha256=kept(ws, levels),
        pixels_sha256=pixels_hash(levels),
        origin="real",
        prompt_id=prompt.id,
        shape=[1, *levels.shape],
        split="train",
    )
    ws.session.add(image)
    ws.session.commit()


def book(ws: Workspace, *, fit: str = "crop", mirror: bool = False) -> Book:
    config = LessonConfig(fit=fit, mirror=mirror)
    frame = Frame("codec", (3, 16, 16), fit)
    return Book(ws, select_images(ws, config), frame, config, TrainingConfig())


@pytest.fixture
def levels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (20, 24), dtype=np.uint8)


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("role", ["prior", "source"])
def test_condition_images_are_framed_and_mirrored_as_the_image_is(
    workspace: Workspace, levels: NDArray[np.uint8], role: str, fit: str
) -> None:
    add_conditioned(workspace, levels, **{role: kept(workspace, levels)})
    [example] = book(workspace, fit=fit, mirror=True).learned
    frame, image = Frame("codec", (3, 16, 16), fit), rgb(Sample(levels[None]))[:1]
    assert example.mirrored is not None
    plain, mirrored = example.prompt.images[role], example.mirrored.prompt.images[role]
    assert np.array_equal(plain.array, frame.shown(image).numpy())
    assert np.array_equal(mirrored.array, frame.shown(image, mirrored=True).numpy())


def test_a_mask_keeps_its_classes(workspace: Workspace, levels: NDArray[np.uint8]) -> None:
    classes = levels // 64
    add_conditioned(workspace, levels, mask=kept(workspace, classes))
    [example] = book(workspace).learned
    mask = example.prompt.images["mask"]
    assert mask.kind == "labels" and mask.array.shape == (1, 16, 16)
    assert set(np.unique(mask.array)) == {0, 1, 2, 3}


def test_trainings_that_differ_in_condition_images_alone_are_not_the_same(
    workspace: Workspace, levels: NDArray[np.uint8]
) -> None:
    add_conditioned(workspace, levels, mask=kept(workspace, levels // 64))
    one = book(workspace).fingerprint()
    workspace.session.delete(queries.images.images(workspace.session)[0][0])
    add_conditioned(workspace, levels, mask=kept(workspace, levels // 32))
    assert book(workspace).fingerprint() != one


def test_without_condition_images_the_fingerprint_is_that_of_0_2_0(workspace: Workspace) -> None:
    add_pictures(workspace, "OCT", "drusen", 1, "train")
    told = book(workspace)
    key = told.learned[0].image
    assert told.fingerprint() == [[[key, "OCT", "drusen", "drusen", {}]], [], []]


def test_of_many_condition_images_none_stays_in_memory(
    workspace: Workspace, levels: NDArray[np.uint8]
) -> None:
    def num_samples() -> int:
        gc.collect()
        return sum(type(thing) is Sample for thing in gc.get_objects())

    before = num_samples()
    for number in range(12):
        add_conditioned(
            workspace,
            levels + np.uint8(number),
            mask=kept(workspace, levels // 16 + np.uint8(number)),
        )
    told = book(workspace, mirror=True)
    ids = [prompt.id for prompt in workspace.session.exec(select(Prompt))]
    values = prompt_values(workspace, ids, loaded=False)
    assert num_samples() == before and len(values) == len(told.learned) == 12
    prompts = [*values.values(), *(example.prompt for example in told.learned)]
    assert all("mask" in prompt.images and list(prompt.images) == ["mask"] for prompt in prompts)
    assert {prompt.images["mask"].array.shape for prompt in prompts} == {(1, 20, 24), (1, 16, 16)}
    assert num_samples() == before
