"""A rater's project: one for each rater of a study, found again by the end of its title.

One project a rater gives each an order of their own and makes certain whose answers it holds. A
title says what there is to read and ends with a hash of study and rater. Label Studio's own numbers
are never kept: it gives a task's number again after the task was deleted.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from annotation.base import Study, Task
from annotation.label_studio.form import labelling_form

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio

TITLE = "Reading"
MAX_TITLE = 50  # characters, of Label Studio


@dataclass(frozen=True)
class Project:
    """A rater's project as it is now."""

    id: int
    num_tasks: int


def place_of(study: Study, rater: str) -> str:
    """Return the name of the rater's project among the places that are pulled."""
    return f"{TITLE} {_digest(study, rater)}"


def project_title(study: Study, rater: str, tasks: Sequence[Task]) -> str:
    """Return what a rater sees of the project before its images: modalities and their number."""
    modalities = sorted({task.modality for task in tasks})
    count = f"{len(tasks)} {'pairs' if study.is_of_pairs else 'images'}"
    end = f": {count} ({_digest(study, rater)})"
    names = ", ".join(modalities) or TITLE
    if len(names) + len(end) > MAX_TITLE:
        names = f"{len(modalities)} modalities" if len(modalities) > 1 else TITLE
    return names + end


def _digest(study: Study, rater: str) -> str:
    return hashlib.sha256(f"{study.uid}/{rater}".encode()).hexdigest()[:12]


def find_project(client: "LabelStudio", study: Study, rater: str) -> Project | None:
    """Return the rater's project, if it is there."""
    digest = _digest(study, rater)
    for found in client.projects.list(title=digest).items or ():  # those that hold it
        if str(found.title).rstrip(")").endswith(digest):
            return Project(int(found.id), int(found.task_number or 0))
    return None


def get_or_add_project(
    client: "LabelStudio", study: Study, rater: str, tasks: Sequence[Task]
) -> Project:
    """Return the rater's project, made first when it is new: in our order, nothing shown to help.

    The server refuses a second one of this title, so that two pushes at once make one.
    """
    known = find_project(client, study, rater)
    if known is not None:
        return known
    made = client.projects.create(
        title=project_title(study, rater, tasks),
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
