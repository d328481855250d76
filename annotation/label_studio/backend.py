"""Label Studio as a RatingBackend: the people's one."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence

import httpx

from annotation.base import Answer, Health, Pulled, Study, Task, Unreadable
from annotation.errors import AnnotationError
from annotation.label_studio.access import Access
from annotation.label_studio.answers import moment, read_task
from annotation.label_studio.client import Client, connect, understood
from annotation.label_studio.projects import (
    Project,
    ensure_images,
    find_project,
    get_or_add_project,
    place_of,
    user_ids,
)
from annotation.label_studio.server import is_healthy
from annotation.label_studio.tasks import changed_tasks, send_tasks
from annotation.label_studio.webhooks import ensure_webhook

# A change counts from when it was made, but is seen when its transaction ends: so much of what
# was read is read again (which changes nothing), until the newest change is so old that all
# transactions of its time must have ended.
OVERLAP_S = 10
SETTLED_S = 30


class LabelStudioBackend:
    """Rating on one server; each rater's projects are reached with that rater's room's token."""

    def __init__(self, access: Access, *, transport: httpx.BaseTransport | None = None) -> None:
        self.access = access
        self._transport = transport
        self._clients: dict[str, Client] = {}

    def push(self, study: Study, tasks: Sequence[Task]) -> int:
        """Make each rater's project and send the tasks that are missing, in order of position."""
        num_new = 0
        for rater in study.raters:
            own = sorted((t for t in tasks if t.rater == rater), key=lambda task: task.position)
            client = self._client(rater)
            with understood(client.url):
                project = get_or_add_project(client.sdk, study, rater, own)
                if study.images_folder:
                    ensure_images(client.sdk, project.id, study.images_folder)
                num_new += send_tasks(client.sdk, project.id, own)
        return num_new

    def pull(self, study: Study, marks: Mapping[str, dt.datetime]) -> Iterator[Pulled]:
        """Yield each rater's news; a place is the title of the rater's project."""
        for rater, email in study.raters.items():
            client = self._client(rater)
            place = place_of(study, rater)
            with understood(client.url):
                project = find_project(client.sdk, study, rater)
            if project is None:
                missing = f"{client.url} has no project of {rater}: push the campaign again"
                yield Pulled(place=place, answers=(), unreadable=(), mark=None, warnings=(missing,))
            else:
                yield self._pull_place(client, study, rater, email, project, marks.get(place))

    def rating_pages(self, study: Study) -> dict[str, str]:
        """Return where each rater rates, in label-stream mode: one image after the other."""
        pages = {}
        for rater in study.raters:
            client = self._client(rater)
            with understood(client.url):
                project = find_project(client.sdk, study, rater)
            if project is not None:
                pages[rater] = f"{self.access.page}/projects/{project.id}/data?labeling=1"
        return pages

    def health(self) -> Health:
        """Return whether the server answers and takes the token."""
        url = self.access.url
        if not is_healthy(url):
            return Health(is_up=False, message=f"nothing answers as Label Studio at {url}")
        try:
            client = connect(url, self.access.token, transport=self._transport)
            with understood(url):
                client.sdk.users.whoami()
        except AnnotationError as error:
            return Health(is_up=False, message=str(error))
        return Health(is_up=True, message=f"Label Studio at {url} is up and takes the token")

    def send_hints(self, study: Study, url: str) -> None:
        """Have the study's projects tell curate at `url` that something changed."""
        for rater in study.raters:
            client = self._client(rater)
            with understood(client.url):
                project = find_project(client.sdk, study, rater)
                if project is not None:
                    ensure_webhook(client.sdk, project.id, url, self.access.webhook_secret)

    def _client(self, rater: str) -> Client:
        token = self.access.token_for(rater)
        if token not in self._clients:
            self._clients[token] = connect(self.access.url, token, transport=self._transport)
        return self._clients[token]

    def _pull_place(
        self,
        client: Client,
        study: Study,
        rater: str,
        email: str,
        project: Project,
        mark: dt.datetime | None,
    ) -> Pulled:
        warnings = []
        now = client.clock.now
        if mark is not None and now is not None and now < mark:
            warnings.append(
                f"Label Studio's clock ({now:%Y-%m-%d %H:%M:%S} UTC) stands before the last change "
                f"seen of {rater}: everything was read again. Set the server's clock right."
            )
            mark = None
        with understood(client.url):
            user_id = user_ids(client.sdk).get(email.lower())
            tasks = changed_tasks(client.sdk, project.id, mark)
        if user_id is None:
            warnings.append(f"{rater} has no account there yet ({email})")
        answers, unreadable = list[Answer](), list[Unreadable]()
        for task in tasks:
            said, faults = read_task(study, rater, user_id, task)
            answers += said
            unreadable += faults
        return Pulled(
            place=place_of(study, rater),
            answers=tuple(answers),
            unreadable=tuple(unreadable),
            mark=_next_mark(mark, [moment(task.get("updated_at")) for task in tasks], now),
            warnings=tuple(warnings),
        )


def _next_mark(
    mark: dt.datetime | None,
    changes: Sequence[dt.datetime | None],
    now: dt.datetime | None,
) -> dt.datetime | None:
    """Return where the next pull begins: never ahead of the server's clock, never back."""
    known = [change for change in changes if change is not None]
    if not known:
        return mark
    newest = max(known)
    if now is None or now - newest < dt.timedelta(seconds=SETTLED_S):
        newest = min(newest, now or newest) - dt.timedelta(seconds=OVERLAP_S)
    return newest if mark is None else max(mark, newest)
