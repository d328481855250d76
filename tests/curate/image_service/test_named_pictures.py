"""What an image was made from stands beside it, as blind as the image itself."""

import io
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image as PillowImage

from annotation.base import Study, Task
from curate.image_service.addresses import local_files, signed_urls
from curate.image_service.app import pictures_of
from curate.image_service.signing import read_address, workspace_key
from curate.rating.send import push_campaign, study_of
from curate.samples.pixels import png_bytes
from curate.workspace import Workspace
from db import queries
from db.engine import Engine
from db.models import Campaign, Image
from tests.curate.image_service.study import SYNTHETIC_SIDE, add_images, make_study

CLASSES = np.arange(4, dtype=np.uint8).repeat(64).reshape(16, 16)
GIVEN = {
    "prior": png_bytes(np.full((20, 28), 90, np.uint8)),
    "mask": png_bytes(CLASSES),
    "edges": png_bytes(CLASSES),  # a role that raters do not see
}


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
    from annotation.base import RaterProfile
    from tests.curate.campaigns import create_campaign

    images: list[Image] = add_images(workspace, 4, conditions=GIVEN)
    plain = queries.prompts.get_or_add_prompt(workspace.session, modality="OCT", text="drusen")
    images[0].prompt_id = plain.id
    workspace.session.commit()
    ann = RaterProfile(name="ann", config={"email": "ann@example.org"})
    mixed = create_campaign(workspace, name="mixed", images=images, raters=[ann], overlap=1)
    assert study_of(workspace, mixed).pictures == ("left",)
    shown = queries.campaigns.shown_images(workspace.session, mixed.id)
    assert {picture.name for picture in shown} == {"left"}
