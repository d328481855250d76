"""A blind campaign of real and synthetic pictures of different sizes, depths and qualities."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from curate.workspace import Workspace
    from db.models import Campaign

NUM_IMAGES = 24


@pytest.fixture
def campaign(workspace: "Workspace") -> "Campaign":
    from tests.curate.image_service.study import make_study

    return make_study(workspace, num_images=NUM_IMAGES)
