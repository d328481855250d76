"""The SDK's client, and its errors in one line that tells what to do and never holds a token."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import httpx

from annotation.errors import AnnotationError

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio

TIMEOUT_S = 60.0  # importing 1,000 tasks takes seconds on a busy server
RETRIES = 2  # by the SDK, with a pause, on 408, 429 and 5xx


@dataclass
class ServerClock:
    """What time the server said it was in its last answer."""

    now: dt.datetime | None = None  # to the second

    def hear(self, response: httpx.Response) -> None:
        """Read the answer's Date."""
        try:
            self.now = parsedate_to_datetime(response.headers["Date"])
        except (KeyError, ValueError):
            self.now = None


@dataclass(frozen=True)
class Client:
    """The SDK's client on one server with one token."""

    url: str
    sdk: "LabelStudio" = field(repr=False)  # holds the token
    clock: ServerClock


def connect(url: str, token: str, *, transport: httpx.BaseTransport | None = None) -> Client:
    """Return a client for a legacy token or a personal one (told apart by their form).

    The server is on this machine or named by the user: proxies of the environment are not asked.
    """
    from label_studio_sdk import LabelStudio  # here: it takes 0.7 s to import

    clock = ServerClock()
    http = httpx.Client(
        timeout=TIMEOUT_S,
        limits=httpx.Limits(max_keepalive_connections=0),  # nothing stays open that needs closing
        follow_redirects=True,
        trust_env=False,
        transport=transport,
        event_hooks={"response": [clock.hear]},
    )
    with understood(url):
        sdk = LabelStudio(base_url=url, api_key=token, httpx_client=http, max_retries=RETRIES)
    return Client(url, sdk, clock)


@contextmanager
def understood(url: str) -> Iterator[None]:
    """Turn what can go wrong between here and the server into AnnotationError.

    `from None`: an SDK error carries the whole answer, and that may hold secrets of the project.
    """
    from label_studio_sdk.core.api_error import ApiError

    try:
        yield
    except ApiError as error:
        advice = "Run the same command again; if the error persists, see the server's log."
        if error.status_code in (401, 403):
            advice = (
                "It refuses the token: make a new one on its page Account & Settings and connect "
                "again with `curate rate serve --url`."
            )
        raise AnnotationError(
            f"Label Studio at {url} answered with status {error.status_code}. {advice}"
        ) from None
    except httpx.HTTPError as error:
        raise AnnotationError(
            f"Label Studio at {url} cannot be reached ({type(error).__name__}). Is it running? "
            "Start it with `curate rate serve`; then run the same command again."
        ) from None
    except (ValueError, TypeError, AttributeError) as error:  # JSON of a shape unheard of
        raise AnnotationError(
            f"Label Studio at {url} sent an answer that cannot be read ({type(error).__name__}). "
            "Run the same command again; if the error persists, see the server's log."
        ) from None
