"""Raters' accounts: on the managed server made by curate, elsewhere by the rater's own sign-up."""

import hashlib
import json
import os
import secrets
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from annotation.errors import AnnotationError
from annotation.label_studio.access import Access, with_room
from annotation.label_studio.client import connect, understood
from annotation.label_studio.inside import curate_accounts
from annotation.label_studio.server import server_environment

INSIDE_S = 300
# without letters and digits that look alike: it is read to somebody, or typed from paper
LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"


@dataclass(frozen=True)
class Invitation:
    """What a rater is sent. Printed once, kept nowhere."""

    email: str
    url: str
    password: str = field(default="", repr=False)  # empty: chosen by the rater at `url`


def invite_to_managed(
    access: Access, rater: str, email: str, *, python: Path, folder: Path
) -> tuple[Access, Invitation]:
    """Make the rater's account with a new password; return the access that reaches their room."""
    room = hashlib.sha256(f"{access.webhook_secret}/{rater}".encode()).hexdigest()[:12]
    password = "-".join("".join(secrets.choice(LETTERS) for _ in range(5)) for _ in range(4))
    answer = _inside(
        access,
        python,
        folder,
        {
            "action": "invite",
            "room": f"Room {room}",
            "keeper_email": f"keeper-{room}@curate.local",
            "email": email.lower(),
            "password": password,
        },
    )
    return with_room(access, rater, answer["token"]), Invitation(email, access.page, password)


def invite_elsewhere(access: Access, email: str) -> Invitation:
    """Return the server's own sign-up link: on a server that curate does not manage."""
    client = connect(access.url, access.token)
    with understood(access.url):
        link = client.sdk.organizations.invites.get_invite_link()
    address = str(link.invite_url)
    return Invitation(email, address if "://" in address else f"{access.url}{address}")


def deactivate_on_managed(access: Access, email: str, *, python: Path, folder: Path) -> bool:
    """Close the rater's account; return whether there was one."""
    request = {"action": "deactivate", "email": email.lower()}
    return bool(_inside(access, python, folder, request)["found"])


def _inside(access: Access, python: Path, folder: Path, request: dict[str, str]) -> dict[str, Any]:
    """Ask curate_accounts.py; the request goes through its standard input."""
    done = subprocess.run(
        [str(python), str(Path(curate_accounts.__file__))],
        input=json.dumps(request),
        env=server_environment(os.environ, folder, access),
        capture_output=True,
        text=True,
        timeout=INSIDE_S,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no words"])[-1]
        raise AnnotationError(
            f"Label Studio's accounts could not be changed: {last}. "
            "Start the server once with `curate rate serve`, then run the same command again."
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
