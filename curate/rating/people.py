"""Raters who are people: invited, listed, deactivated; known by a pseudonym everywhere.

The e-mail address stays in the rater's row, which no export, report or rating page carries.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from annotation.base import RaterProfile
from annotation.label_studio.accounts import (
    Invitation,
    deactivate_on_managed,
    invite_elsewhere,
    invite_to_managed,
)
from annotation.label_studio.environment import ensure_environment, environment_folder
from curate.errors import CurateError
from curate.rating.label_studio import access_path, label_studio_access, server_folder, write_access
from curate.workspace import Workspace
from db import queries
from db.models import Rater

Say = Callable[[str], None]


@dataclass(frozen=True)
class Person:
    """One rater, as a list shows it."""

    name: str
    expert_level: int
    email: str
    is_active: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return vars(self)


def invite(
    ws: Workspace, email: str, *, name: str | None, expert_level: int, say: Say
) -> tuple[Person, Invitation]:
    """Give a person an account and a pseudonym; again: a new password for the same account.

    Raises CurateError when the name or the address is another rater's.
    """
    if "@" not in email.strip("@ "):
        raise CurateError(
            f"{email!r} is not an e-mail address. Label Studio identifies people by theirs."
        )
    access = label_studio_access(ws)
    rater = _get_or_add_person(ws, email.strip(), name, expert_level)
    if access.managed:
        python = ensure_environment(environment_folder(), say=say)
        access, invitation = invite_to_managed(
            access, rater.name, email, python=python, folder=server_folder(ws)
        )
        write_access(access_path(ws), access)
    else:
        invitation = invite_elsewhere(access, email)
    rater.config = {**rater.config, "active": True}
    ws.session.add(rater)
    queries.audit.record_event(ws.session, "rate raters invite", {"rater": rater.name})
    return _person(rater), invitation


def people(ws: Workspace) -> list[Person]:
    """Return all raters who are people with an address, by name."""
    return [_person(row) for row in queries.campaigns.raters(ws.session) if _is_person(row)]


def deactivate(ws: Workspace, name: str, *, say: Say) -> Person:
    """Ask this rater no more and close the account; what was rated stays and counts."""
    rows = {row.name: row for row in queries.campaigns.raters(ws.session) if _is_person(row)}
    if name not in rows:
        raise CurateError(f"No rater {name!r}. Known: {', '.join(rows) or 'none'}.")
    rater = rows[name]
    access = label_studio_access(ws)
    if access.managed:
        python = ensure_environment(environment_folder(), say=say)
        deactivate_on_managed(access, _email(rater), python=python, folder=server_folder(ws))
    if rater.config.get("active", True):
        rater.config = {**rater.config, "active": False}
        ws.session.add(rater)
        queries.audit.record_event(ws.session, "rate raters deactivate", {"rater": rater.name})
    return _person(rater)


def active_profiles(ws: Workspace, names: Sequence[str]) -> list[RaterProfile]:
    """Return the people to ask: those named, else all that are active."""
    rows = [row for row in queries.campaigns.raters(ws.session) if _is_person(row)]
    known = {row.name: row for row in rows if _person(row).is_active}
    if unknown := [name for name in names if name not in known]:
        raise CurateError(
            f"No active rater {unknown[0]!r}. Known: {', '.join(known) or 'none'}. "
            "Invite one with `curate rate raters invite`."
        )
    if not known:
        raise CurateError("There is nobody to ask. Invite people with `curate rate raters invite`.")
    return [profile_of(known[name]) for name in names or known]


def profile_of(rater: Rater) -> RaterProfile:
    """Return a rater's row as the value that campaigns are made of."""
    return RaterProfile(
        name=rater.name,
        expert_level=rater.expert_level,
        simulated=rater.simulated,
        config=rater.config,
    )


def _get_or_add_person(ws: Workspace, email: str, name: str | None, expert_level: int) -> Rater:
    rows = queries.campaigns.raters(ws.session)
    same = [row for row in rows if _is_person(row) and _email(row).lower() == email.lower()]
    if same and name not in (None, same[0].name):
        raise CurateError(f"{email} is {same[0].name} already. Invite without another --name.")
    if same:
        return same[0]
    taken = {row.name for row in rows}
    if name in taken:
        raise CurateError(f"There is a rater {name!r} already. Use another --name for this one.")
    free = (f"reader-{number}" for number in range(1, len(taken) + 2))
    name = name or next(found for found in free if found not in taken)
    return queries.campaigns.get_or_add_rater(
        ws.session,
        name=name,
        expert_level=expert_level,
        simulated=False,
        config={"email": email, "active": True},
    )


def _is_person(rater: Rater) -> bool:
    return not rater.simulated and "email" in rater.config


def _email(rater: Rater) -> str:
    return str(rater.config["email"])


def _person(rater: Rater) -> Person:
    return Person(rater.name, rater.expert_level, _email(rater), bool(rater.config["active"]))
