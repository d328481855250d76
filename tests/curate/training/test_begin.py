"""A family begun for what a workspace holds: volumes in HU with masks and records."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from curate.errors import CurateError
from curate.production.config import GeneratorChoice
from curate.production.images import prompt_value, samples_of
from curate.production.versions import load_version
from curate.samples.formats import encode
from curate.samples.pixels import pixels_hash
from curate.settings import Given
from curate.training.config import FamilyChoice, LessonConfig
from curate.training.train_generator import run_train_generator, training_of
from curate.workspace import Workspace
from db import queries
from db.models import GeneratorVersion, Image
from generators.base import require_trajectory
from generators.config import SamplingSettings
from generators.sample import Kind, Sample
from tests.toys import begun

LESSON = LessonConfig(num_samples=2, sample_steps=2)


@pytest.fixture
def toys(tmp_path: Path) -> Iterator[None]:
    """The toy family as another package brings it."""
    info = tmp_path / "site" / "toys-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    points = "[curate.generators]\ntoy-begun = tests.toys.begun:load\n"
    (info / "entry_points.txt").write_text(points)
    sys.path.insert(0, str(info.parent))
    yield
    sys.path.remove(str(info.parent))


def add_volume(ws: Workspace, number: int, shape: tuple[int, ...], kind: Kind = "HU") -> None:
    """Add a volume, or a slice, whose mask lies where it is dense."""
    random = np.random.default_rng(number)
    classes = random.integers(0, 3, (1, *shape)).astype(np.uint8)
    affine = ((2.0, 0, 0, 5), (0, 2.0, 0, 6), (0, 0, 3.0, number), (0, 0, 0, 1))
    mask = encode(Sample(classes, "labels", None, affine))
    numbers: np.ndarray[Any, Any]
    if kind == "HU":
        numbers = (classes * 400.0 - 800 + random.normal(0, 9, classes.shape)).astype(np.int16)
    else:
        numbers = classes * 100
    file = encode(Sample(numbers, kind, None, affine))
    hashes = queries.files.add_files(
        ws.session, ws.store, [(one.content, one.media_type) for one in (mask, file)]
    )
    prompt = queries.prompts.get_or_add_prompt(
        ws.session,
        modality="ChestCT",
        text="a chest",
        record={"age": 40 + number},
        conditions={"mask": hashes[0]},
    )
    image = Image(
        file_sha256=hashes[1],
        pixels_sha256=pixels_hash(numbers),
        origin="real",
        prompt_id=prompt.id,
        shape=[1, *shape],
        split="val" if number == 0 else "train",
    )
    ws.session.add(image)
    ws.session.commit()


def train(ws: Workspace, *settings: str, choice: GeneratorChoice | None = None) -> GeneratorVersion:
    family = FamilyChoice(family="toy-begun", settings=settings)
    made = run_train_generator(
        ws,
        training_of(family, Given({})),
        LESSON,
        choice=choice or GeneratorChoice(),
        family=family,
        replay_prompts=None,
        say=lambda line: None,
    )
    assert made is not None
    return made


@pytest.fixture
def volumes(toys: None, workspace: Workspace) -> Workspace:
    """Volumes larger and smaller than the patches of (4, 4, 4)."""
    for number, shape in enumerate(((6, 7, 8), (6, 7, 8), (3, 9, 5), (4, 4, 4))):
        add_volume(workspace, number, shape)
    return workspace


def test_a_family_is_begun_and_trained_its_own_way_on_patches_of_volumes(
    volumes: Workspace,
) -> None:
    made = train(volumes, "width=6")
    start = volumes.session.get_one(GeneratorVersion, made.parent_id)
    assert (start.how_made, start.parent_id) == ("begun", None)
    assert start.config["settings"] == {"width": "6"}
    assert made.config["training"]["num_steps"] == begun.TRAINING.num_steps
    before, after = (require_trajectory(load_version(volumes, v.id)) for v in (start, made))
    weights = (one.denoiser.network.first.weight for one in (before, after))
    assert not torch.equal(*weights)
    assert after.conditioner.labels == [0, 1, 2]  # type: ignore[attr-defined]
    assert volumes.folder.joinpath(made.metrics["samples"], "step-000003.png").is_file()
    assert train(volumes, "width=6").id == made.id  # done before


def test_what_was_begun_and_not_trained_is_not_the_latest(volumes: Workspace) -> None:
    made = train(volumes)
    train(volumes, "width=5")
    latest = queries.versions.latest_version(volumes.session)
    assert latest is not None and latest.how_made == "train-generator" and latest.id != made.id


def test_a_volume_is_made_as_large_as_its_mask_and_where_it_lies(volumes: Workspace) -> None:
    generator = load_version(volumes, train(volumes).id)
    image = next(i for i, _ in queries.images.images(volumes.session) if i.shape == [1, 6, 7, 8])
    prompt = prompt_value(volumes, image.prompt_id)
    [sample] = samples_of(generator, [prompt], [3], SamplingSettings(num_steps=2, batch_size=1))
    assert (sample.kind, sample.array.shape) == ("HU", (1, 6, 7, 8))
    assert sample.affine == prompt.images["mask"].affine
    guided = SamplingSettings(num_steps=2, batch_size=1, guidance=2.0)
    [steered] = samples_of(generator, [prompt], [3], guided)
    assert not np.array_equal(steered.array, sample.array)


def test_a_picture_among_volumes_is_named(volumes: Workspace) -> None:
    add_volume(volumes, 9, (8, 8), "intensity")
    with pytest.raises(CurateError, match=r"is intensity of \[1, 8, 8\]; this generator learns HU"):
        train(volumes)


def test_a_family_grows_out_of_a_version_that_is_named(volumes: Workspace) -> None:
    first = train(volumes)
    grown = train(volumes, choice=GeneratorChoice(version=first.id))
    start = volumes.session.get_one(GeneratorVersion, grown.parent_id)
    # the toy takes nothing of its base: its first weights are those that it had before
    assert start.id == first.parent_id


@pytest.mark.parametrize(
    ("settings", "says"), [(("width",), "NAME=VALUE"), (("=4",), "NAME=VALUE")]
)
def test_settings_are_written_as_name_and_value(
    volumes: Workspace, settings: tuple[str, ...], says: str
) -> None:
    with pytest.raises(CurateError, match=says):
        train(volumes, *settings)
