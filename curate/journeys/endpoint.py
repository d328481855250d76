"""A language model behind an OpenAI-compatible endpoint, asked what changed between two reports.

Reports leave this machine only where the user says so in so many words.
"""

import os
from typing import Any

from annotation.endpoint import Endpoint
from annotation.errors import AnnotationError
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


class ReportReader(Endpoint):
    """A model that says what changed between two reports."""

    @property
    def details(self) -> dict[str, Any]:
        """Return what is kept with a text: the model, and the prompt with its hash."""
        return {"model": self.model, "template": TEMPLATE, "template_sha256": json_hash(TEMPLATE)}

    def asked(self, before: str, after: str) -> str:
        """Return the model's answer; a busy server is asked again. Raises CurateError."""
        content = TEMPLATE.format(before=before, after=after)
        try:
            with self.client() as client:
                answer = self.said(client, [{"role": "user", "content": content}])
            return str(answer.json()["choices"][0]["message"]["content"])
        except AnnotationError as error:
            raise CurateError(str(error)) from error
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise CurateError(
                f"{self.base} gave no text ({str(error)[:120]}). Texts received so far are kept: "
                "run the same command to resume."
            ) from error


def endpoint_of(config: DescribeConfig) -> ReportReader:
    """Return the endpoint of the options and the environment. Raises CurateError."""
    url = config.url or os.environ.get("CURATE_LLM_URL")
    model = config.model or os.environ.get("CURATE_LLM_MODEL")
    if not url or not model:
        raise CurateError(
            "--text api needs --url and --model, or CURATE_LLM_URL and CURATE_LLM_MODEL: any "
            "OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1."
        )
    endpoint = ReportReader(
        url=url,
        model=model,
        key=os.environ.get("CURATE_LLM_KEY"),
        timeout_s=TIMEOUT,
        tries=TRIES,
        first_wait_s=FIRST_WAIT,
    )
    if not endpoint.is_local and not config.may_leave:
        raise CurateError(
            f"{url} is not this machine, and reports would leave it. Pass "
            f"--reports-may-leave to allow it, or name an endpoint on "
            f"127.0.0.1."
        )
    return endpoint
