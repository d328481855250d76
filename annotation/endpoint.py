"""An OpenAI-compatible address: a model that is asked, with patience, and nobody else.

A redirect is not followed, and no proxy is asked for an address on this machine: what is sent goes
to the address that was named. A busy server is asked again under the same `Idempotency-Key`.
"""

import ipaddress
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from annotation.errors import AnnotationError

LONGEST_WAIT_S = 60.0  # between two tries, whatever the server asks for
COME_AGAIN = (408, 409, 425, 429)  # statuses that another try may change, as may all from 500 on


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a model is asked, and how patiently. The key is sent and never stored."""

    url: str  # where `/chat/completions` is, such as http://127.0.0.1:8000/v1
    model: str
    key: str | None = field(default=None, repr=False)  # sent as `Authorization: Bearer`
    timeout_s: float = 60.0  # of one request
    tries: int = 6  # of one request, where the server is busy, fails or says nothing
    first_wait_s: float = 1.0  # between tries, then twice as long each time

    @property
    def base(self) -> str:
        """Return the address without its last slash."""
        return self.url.rstrip("/")

    @property
    def is_local(self) -> bool:
        """Say whether it is on this machine: only names and numbers that can be no other one's."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def client(self) -> httpx.Client:
        """Return what requests are sent with; close it."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return httpx.Client(timeout=self.timeout_s, headers=headers, trust_env=not self.is_local)

    def said(
        self,
        client: httpx.Client,
        messages: Sequence[Mapping[str, Any]],
        *,
        key: str | None = None,
        **more: Any,
    ) -> httpx.Response:
        """Return the answer to these messages, whatever its body; `more` goes into the request.

        Raises AnnotationError when there is none. By `key` a server may know another try.
        """
        body = {"model": self.model, "temperature": 0, "messages": messages, **more}
        headers = {"Idempotency-Key": key} if key else {}
        trouble, wait_s = "", 0.0
        for number in range(self.tries):
            time.sleep(wait_s)
            wait_s = min(LONGEST_WAIT_S, self.first_wait_s * 2.0**number)
            try:
                answer = client.post(f"{self.base}/chat/completions", json=body, headers=headers)
            except httpx.HTTPError as error:
                trouble = str(error) or type(error).__name__
                continue
            if answer.status_code == 200:
                return answer
            trouble = f"status {answer.status_code}"
            if answer.status_code < 500 and answer.status_code not in COME_AGAIN:
                raise AnnotationError(
                    f"{self.base} refuses ({trouble}: {answer.text[:120]!r}); a redirect is not "
                    "followed. Check address, model and key. What came so far is kept: run the "
                    "same command to resume."
                )
            asked_for = answer.headers.get("Retry-After", "")
            if asked_for.isdecimal():
                wait_s = min(LONGEST_WAIT_S, float(asked_for))
        raise AnnotationError(
            f"{self.base} gave no answer in {self.tries} tries ({trouble}). What came so far is "
            "kept; once it answers again, run the same command to resume."
        )
