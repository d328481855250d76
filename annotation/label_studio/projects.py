"""A rater's project: one for each rater of a study, found again by its title.

One project a rater gives each an order of their own and makes certain whose answers it holds. A
title is opaque: it hashes study and rater. Label Studio's own numbers are never kept: it gives a
task's number again after the task was deleted.
"""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from annotation.base import Study
from annotation.label_studio.form import labelling_form

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio

TITLE = "Reading"


@dataclass(frozen=True)
class Project:
    """A rater's project as it is now."""

    id: int
    num_tasks: int


def project_title(study: Study, rater: str) -> str:
    """Return what the project is found by; it tells a rater nothing."""
    digest = hashlib.sha256(f"{study.uid}/{rater}".encode()).hexdigest()
    return f"{TITLE} {digest[:12]}"


def find_project(client: "LabelStudio", study: Study, rater: str) -> Project | None:
    """Return the rater's project, if it is there."""
    title = project_title(study, rater)
    for found in client.projects.list(title=title).items or ():
        if found.title == title:
            return Project(int(found.id), int(found.task_number or 0))
    return None


def get_or_add_project(client: "LabelStudio", study: Study, rater: str) -> Project:
    """Return the rater's project, made first when it is new: in our order, nothing shown to help.

    The server refuses a second one of this title, so that two pushes at once make one.
    """
    known = find_project(client, study, rater)
    if known is not None:
        return known
    made = client.projects.create(
        title=project_title(study, rater),
        description="",
        label_config=labelling_form(study),
        expert_instruction=study.instructions,
        show_instruction=bool(study.instructions),
        sampling="Sequential sampling",  # by number: the order in which tasks were sent
        show_skip_button=True,
        enable_empty_annotation=False,
        maximum_annotations=1,
        show_collab_predictions=False,
        show_annotation_history=False,
    )
    return Project(int(made.id), 0)


def ensure_images(client: "LabelStudio", project_id: int, folder: str) -> None:
    """Let the project's raters see the pictures in `folder`, and no others."""
    storages: list[Any] = client.import_storage.local.list(project=project_id)
    if not any(storage.path == folder for storage in storages):
        client.import_storage.local.create(project=project_id, path=folder, use_blob_urls=True)


def user_ids(client: "LabelStudio") -> dict[str, int]:
    """Return {e-mail in lower case: number} of the accounts that the token can see."""
    users: list[Any] = client.users.list()
    return {str(user.email).lower(): int(user.id) for user in users if user.email}
