"""How to reach a Label Studio: its address and tokens, in a file that only its owner may read.

Nothing in it is ever printed: representations leave the tokens out.
"""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from annotation.errors import AnnotationError

URL_VARIABLE = "CURATE_LABEL_STUDIO_URL"
TOKEN_VARIABLE = "CURATE_LABEL_STUDIO_TOKEN"


@dataclass(frozen=True)
class Access:
    """One server, and the token of the account that curate uses there."""

    url: str
    token: str = field(repr=False)
    page_url: str = ""  # where raters' browsers go, when that is not `url`
    managed: bool = False  # curate started it, in the workspace
    admin_email: str = ""
    admin_password: str = field(default="", repr=False)
    webhook_secret: str = field(default="", repr=False)
    webhook_url: str = ""  # where `serve` listens for hints
    # managed only: rater -> token of curate's account in that rater's own organisation
    rooms: Mapping[str, str] = field(default_factory=dict, repr=False)
    # managed only: where Label Studio keeps its rows, as it spells that; empty: SQLite
    database: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def page(self) -> str:
        """Return the address that raters are given."""
        return self.page_url or self.url

    def token_for(self, rater: str) -> str:
        """Return the token that reaches this rater's projects."""
        return self.rooms.get(rater, self.token)


def new_access(url: str) -> Access:
    """Return an access to a managed server that is still to be started, with fresh secrets."""
    return Access(
        url=url,
        token=secrets.token_hex(20),
        managed=True,
        admin_email="curate@curate.local",
        admin_password=secrets.token_urlsafe(24),
        webhook_secret=secrets.token_urlsafe(32),
    )


def read_access(path: Path) -> Access | None:
    """Return what the environment names, else what the file keeps, else None.

    The environment wins, so that a scheduler can hold the token; both variables are needed.
    """
    url, token = os.environ.get(URL_VARIABLE), os.environ.get(TOKEN_VARIABLE)
    if bool(url) != bool(token):
        found, missing = (URL_VARIABLE, TOKEN_VARIABLE) if url else (TOKEN_VARIABLE, URL_VARIABLE)
        raise AnnotationError(f"{found} is set but {missing} is not. Set both or neither.")
    kept = None
    if path.is_file():
        if path.stat().st_mode & 0o077:
            raise AnnotationError(
                f"{path} holds tokens and others may read it. Run `chmod 600 {path}`, and make new "
                "tokens if somebody may have looked."
            )
        try:
            kept = Access(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            # from None: what cannot be parsed may be half a token
            raise AnnotationError(
                f"{path} cannot be read. Delete it and connect again with `curate rate serve`."
            ) from None
    if url and token and (kept is None or (kept.url, kept.token) != (url, token)):
        secret = kept.webhook_secret if kept else secrets.token_urlsafe(32)
        return Access(url=url.rstrip("/"), token=token, webhook_secret=secret)
    return kept


def with_room(access: Access, rater: str, token: str) -> Access:
    """Return the access with one more rater's token."""
    return replace(access, rooms={**access.rooms, rater: token})
