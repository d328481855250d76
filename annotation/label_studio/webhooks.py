"""Label Studio's webhooks: a hint that now is a good time to pull, and nothing more.

They are unsigned, sent once and lost when nobody answers within a second. So a hint carries no
payload, must know a secret, and is answered before anything is done.
"""

import hmac
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from label_studio_sdk import LabelStudio

PATH = "/label-studio-webhook"
SECRET_HEADER = "X-Curate-Secret"
_SECRET_KEY = "HTTP_X_CURATE_SECRET"  # the same, as WSGI writes it
ACTIONS = (
    "ANNOTATION_CREATED",
    "ANNOTATION_UPDATED",
    "ANNOTATIONS_CREATED",
    "ANNOTATIONS_DELETED",
    "TASKS_DELETED",
)


def webhook_app(secret: str, wake: Callable[[], None]) -> "WSGIApplication":
    """Return the receiver: whoever knows the secret wakes the pull; the body is never read."""
    expected = secret.encode()

    def answer(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        given = environ.get(_SECRET_KEY, "").encode("latin-1", "replace")
        if environ.get("PATH_INFO") != PATH or environ.get("REQUEST_METHOD") != "POST":
            start("404 Not Found", [("Content-Length", "0")])
        elif not hmac.compare_digest(given, expected):
            start("403 Forbidden", [("Content-Length", "0")])
        else:
            wake()
            start("204 No Content", [])
        return []

    return answer


def ensure_webhook(client: "LabelStudio", project_id: int, url: str, secret: str) -> None:
    """Have the server send the project's hints to `url`; older ones of ours go."""
    hooks: list[Any] = client.webhooks.list(project=str(project_id))
    for hook in hooks:
        if str(hook.url).endswith(PATH):
            client.webhooks.delete(id=hook.id)
    client.webhooks.create(
        url=url + PATH,
        project=project_id,
        headers={SECRET_HEADER: secret},
        actions=list(ACTIONS),
        send_for_all_actions=False,
        send_payload=False,
        is_active=True,
    )
