"""What an image was made from stands beside it, as blind as the image itself."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import numpy as np
import pytest
from PIL import Image as PillowImage

from annotation.base import RaterProfile, Study, Task
from curate.image_service.addresses import local_files, signed_urls
from curate.image_service.app import pictures_of
from curate.image_service.picture import StudyPictures
from curate.image_service.signing import read_address, workspace_key
from curate.rating.send import push_campaign, study_of
from curate.samples.formats import encode
from curate.samples.pixels import pixels_hash, png_bytes
from curate.workspace import Workspace
from db import queries
from db.engine import Engine
from db.models import IN_SLICES, Campaign, Image
from generators.sample import Sample
from tests.curate.campaigns import create_campaign
from tests.curate.image_service.study import SYNTHETIC_SIDE, add_images, make_study

PNG = "image/png"
CLASSES = np.arange(4, dtype=np.uint8).repeat(64).reshape(16, 16)
GIVEN = {
    "prior": png_bytes(np.full((20, 28), 90, np.uint8)),
    "mask": png_bytes(CLASSES),
    "edges": png_bytes(CLASSES),  # a role that raters do not see
}
ANN = RaterProfile(name="ann", config={"email": "ann@example.org"})


class Wall:
    """Takes what is pushed and keeps it."""

    study: Study
    tasks: Sequence[Task]

    def push(self, study: Study, tasks: Sequence[Task]) -> int:
        self.study, self.tasks = study, tasks
        return len(tasks)


@pytest.fixture
def edits(workspace: Workspace) -> Campaign:
    return make_study(workspace, num_images=4, conditions=GIVEN)


def test_a_task_names_its_pictures(workspace: Workspace, edits: Campaign) -> None:
    wall, urls = Wall(), signed_urls(workspace, edits, base_url="https://images.example")
    push_campaign(workspace, edits, wall, urls)  # type: ignore[arg-type]
    assert wall.study.pictures == ("prior", "mask", "left")
    assert [question.kind for question in wall.study.questions] == ["scale"]
    for task in wall.tasks:
        assert list(task.pictures) == ["prior", "mask", "left"]
        assert all(f"/images/{task.uid}/{name}?" in url for name, url in task.pictures.items())


def test_the_service_shows_what_was_given_as_it_shows_the_image(
    workspace: Workspace, edits: Campaign
) -> None:
    engine = workspace.session.get_bind()
    assert isinstance(engine, Engine)
    open_picture = pictures_of(engine, workspace.store)
    key = workspace_key(workspace.folder)
    lengths, sizes = set(), set()
    for url in signed_urls(workspace, edits, base_url="https://images.example").values():
        address = read_address(urlsplit(url).path, urlsplit(url).query)
        assert address is not None and address.is_signed_with(key)
        picture = open_picture(address.shown)
        assert picture is not None
        lengths.add(len(picture))
        sizes.add(PillowImage.open(io.BytesIO(picture)).size)
    assert len(lengths) == 1 and sizes == {(SYNTHETIC_SIDE, SYNTHETIC_SIDE)}


def test_the_classes_of_a_mask_are_far_apart_to_the_eye(
    workspace: Workspace, edits: Campaign, tmp_path: Path
) -> None:
    local_files(workspace, edits, document_root=tmp_path)
    path = next(tmp_path.rglob("*-mask.png"))
    greys = np.asarray(PillowImage.open(path).convert("L"))
    of_class = [set(greys[CLASSES == number].tolist()) for number in range(4)]
    assert all(len(found) == 1 for found in of_class)
    seen = sorted(found.pop() for found in of_class)
    assert min(np.diff(seen)) > 25


def test_what_only_some_images_came_with_is_not_shown(workspace: Workspace) -> None:
    """It would tell those images from the others."""
    images: list[Image] = add_images(workspace, 4, conditions=GIVEN)
    plain = queries.prompts.get_or_add_prompt(workspace.session, modality="OCT", text="drusen")
    images[0].prompt_id = plain.id
    workspace.session.commit()
    mixed = create_campaign(workspace, name="mixed", images=images, raters=[ANN], overlap=1)
    assert study_of(workspace, mixed).pictures == ("left",)
    shown = queries.campaigns.shown_images(workspace.session, mixed.id)
    assert {picture.name for picture in shown} == {"left"}


def volumes(workspace: Workspace, *depths: int) -> list[Image]:
    """Add real volumes of slices of 6 x 5 pixels; a slice's grey is its number times ten."""
    prompt = queries.prompts.get_or_add_prompt(workspace.session, modality="CT", text="a chest")
    rows = []
    for number, depth in enumerate(depths):
        greys = (10 * np.arange(depth, dtype=np.uint8))[None, :, None, None] + number
        array = np.broadcast_to(greys.astype(np.uint8), (1, depth, 6, 5)).copy()
        made = encode(Sample(array))
        files = [(made.content, made.media_type)]
        [file] = queries.files.add_files(workspace.session, workspace.store, files)
        rows.append(
            Image(
                file_sha256=file,
                pixels_sha256=pixels_hash(array),
                origin="real",
                prompt_id=prompt.id,
                shape=list(array.shape),
                source_path=f"made/{number}",
            )
        )
    workspace.session.add_all(rows)
    workspace.session.commit()
    return rows


def asked(workspace: Workspace, images: list[Image], **options: Any) -> Campaign:
    settings = {"name": "slices", "backend": "label-studio", "overlap": 1, "raters": [ANN]}
    return create_campaign(workspace, images=images, **{**settings, **options})


def test_a_volume_is_shown_by_its_slices_in_their_order_from_files_and_from_the_service(
    workspace: Workspace, tmp_path: Path
) -> None:
    campaign = asked(workspace, volumes(workspace, 4, 12))
    wall = Wall()
    files = local_files(workspace, campaign, document_root=tmp_path)
    push_campaign(workspace, campaign, wall, files)  # type: ignore[arg-type]
    assert wall.study.pictures == ("left1", "left2", "left3", "left4")  # of the flattest, all
    engine = workspace.session.get_bind()
    assert isinstance(engine, Engine)
    open_picture = pictures_of(engine, workspace.store)
    urls = signed_urls(workspace, campaign, base_url="https://images.example")
    greys = {}
    for task in wall.tasks:
        of_task = []
        for name in wall.study.pictures:
            address = urlsplit(urls[UUID(task.uid), name])
            signed = read_address(address.path, address.query)
            assert signed is not None
            shown = open_picture(signed.shown)
            assert shown == (tmp_path / task.pictures[name].partition("?d=")[2]).read_bytes()
            picture = PillowImage.open(io.BytesIO(shown))
            assert picture.size == (5, 6)
            of_task.append(int(np.asarray(picture).flat[0]))
        greys[len(of_task), of_task[-1] % 10] = of_task
    assert greys == {(4, 0): [0, 10, 20, 30], (4, 1): [11, 41, 71, 101]}  # all; 1, 4, 7, 10 of 12


def test_only_people_see_slices_and_only_where_all_images_have_some(workspace: Workspace) -> None:
    images = volumes(workspace, 3, 3)
    simulated = RaterProfile(name="sim", simulated=True)
    machine = asked(workspace, images, name="m", backend="simulated", raters=[simulated])
    assert queries.campaigns.shown_names(workspace.session, machine) == ("left",)
    compared = asked(workspace, images, name="pairs", pairs=True)
    names = ("left1", "left2", "left3", "right1", "right2", "right3")
    assert queries.campaigns.shown_names(workspace.session, compared) == names
    flat = asked(workspace, [*images, *volumes(workspace, 1)], name="flat")
    assert queries.campaigns.shown_names(workspace.session, flat) == ("left",)


def test_a_campaign_from_before_slices_goes_on_with_its_montage(workspace: Workspace) -> None:
    campaign = asked(workspace, volumes(workspace, 4))
    del campaign.config[IN_SLICES]  # as its row was written
    [shown] = queries.campaigns.shown_images(workspace.session, campaign.id)
    assert (shown.name, shown.part) == ("left", None)
    png = StudyPictures([shown]).png(workspace.store.get(shown.file_sha256), shown)
    assert PillowImage.open(io.BytesIO(png)).size == (10, 12)  # two rows of two slices


def test_what_a_volume_was_made_from_stands_whole_beside_its_slices(workspace: Workspace) -> None:
    [image] = volumes(workspace, 4)
    prior = queries.files.add_files(workspace.session, workspace.store, [(GIVEN["prior"], PNG)])
    edited = queries.prompts.get_or_add_prompt(
        workspace.session, modality="CT", text="grown", conditions={"prior": prior[0]}
    )
    image.prompt_id = edited.id
    shown = queries.campaigns.shown_images(workspace.session, asked(workspace, [image]).id)
    pictures = StudyPictures(shown)
    sizes = {
        one.name: PillowImage.open(
            io.BytesIO(pictures.png(workspace.store.get(one.file_sha256), one))
        ).size
        for one in shown
    }
    assert sizes == {"prior": (10, 12), **{f"left{n}": (5, 6) for n in (1, 2, 3, 4)}}
