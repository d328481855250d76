"""A language model behind an OpenAI-compatible endpoint, asked what changed between two reports.

Reports leave this machine only where the user says so in so many words.
"""

import ipaddress
import os
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from curate.errors import CurateError
from curate.journeys.config import DescribeConfig
from db.hashing import json_hash

TEMPLATE = (
    "Two impressions of one patient's chest X-rays follow, the earlier one first. Say in one or "
    "two short sentences what changed in the image, as an instruction to draw the later image from "
    "the earlier one. Name findings and sides only; no dates, no names, no recommendations. If "
    "nothing changed, answer: No change.\n\nEARLIER: {before}\n\nLATER: {after}"
)
TRIES, FIRST_WAIT, TIMEOUT = 4, 0.5, 60.0  # of one text; seconds


@dataclass(frozen=True)
class Endpoint:
    """Where a model is asked. The key is sent and never stored."""

    url: str
    model: str
    key: str | None

    @property
    def is_local(self) -> bool:
        """Say whether it is on this machine."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @property
    def details(self) -> dict[str, Any]:
        """Return what is kept with a text: the model, and the prompt with its hash."""
        return {"model": self.model, "template": TEMPLATE, "template_sha256": json_hash(TEMPLATE)}

    def asked(self, before: str, after: str) -> str:
        """Return the model's answer; a busy server is asked again. Raises CurateError."""
        content = TEMPLATE.format(before=before, after=after)
        asks = {
            "model": self.model,
            "temperature": 0,
            "messages": [{"role": "user", "content": content}],
        }
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        said = "no answer"
        for turn in range(TRIES):
            if turn:
                time.sleep(FIRST_WAIT * 2 ** (turn - 1))
            try:
                answer = httpx.post(
                    f"{self.url.rstrip('/')}/chat/completions",
                    json=asks,
                    headers=headers,
                    timeout=TIMEOUT,
                )
                if answer.status_code == 429 or answer.status_code >= 500:
                    said = f"status {answer.status_code}"
                    continue
                answer.raise_for_status()
                return str(answer.json()["choices"][0]["message"]["content"])
            except httpx.TransportError as error:
                said = str(error) or type(error).__name__
            except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
                said = f"{str(error)[:120]}"
                break
        raise CurateError(
            f"{self.url} gave no text ({said}). What was described is kept: when it answers "
            "again, the same command goes on from there."
        )


def endpoint_of(config: DescribeConfig) -> Endpoint:
    """Return the endpoint of the options and the environment. Raises CurateError."""
    url = config.url or os.environ.get("CURATE_LLM_URL")
    model = config.model or os.environ.get("CURATE_LLM_MODEL")
    if not url or not model:
        raise CurateError(
            "--text api needs --url and --model, or CURATE_LLM_URL and CURATE_LLM_MODEL: any "
            "OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1."
        )
    endpoint = Endpoint(url, model, os.environ.get("CURATE_LLM_KEY"))
    if not endpoint.is_local and not config.may_leave:
        raise CurateError(
            f"{url} is not this machine, and reports would leave it. Say --reports-may-leave if "
            "they may, or name an endpoint on 127.0.0.1."
        )
    return endpoint
