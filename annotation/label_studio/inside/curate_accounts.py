"""Run by Label Studio's own Python: accounts, as its web interface cannot make them.

Reads one JSON request from the standard input and prints one JSON answer, so that no password or
token ever stands in a process list. Every rater gets an organisation of their own, in which there
is nobody else but an account of curate's: the Community edition has no roles, and within one
organisation everybody may read and change everything.
"""

import json
import os
import sys
from typing import Any


def invite(request: dict[str, Any]) -> dict[str, Any]:
    """Make or renew a rater's account; return the token of curate's account in the same room."""
    from organizations.models import Organization
    from rest_framework.authtoken.models import Token

    keeper = _account(request["keeper_email"], None)
    room = Organization.objects.filter(created_by=keeper).first()
    if room is None:
        room = Organization.create_organization(created_by=keeper, title=request["room"])
    room.jwt.legacy_api_tokens_enabled = True
    room.jwt.save()
    rater = _account(request["email"], request["password"])
    for user in (keeper, rater):
        room.add_user(user)
        user.active_organization = room
        user.save()
    token, _ = Token.objects.get_or_create(user=keeper)
    return {"token": token.key, "user_id": rater.id}


def deactivate(request: dict[str, Any]) -> dict[str, Any]:
    """Close a rater's account and forget its tokens; what was rated stays."""
    from rest_framework.authtoken.models import Token
    from users.models import User

    rater = User.objects.filter(email=request["email"]).first()
    if rater is None:
        return {"found": False}
    rater.is_active = False
    rater.set_unusable_password()  # ends the sessions too
    rater.save()
    Token.objects.filter(user=rater).delete()
    return {"found": True}


def _account(email: str, password: str | None) -> Any:
    from users.models import User

    user = User.objects.filter(email=email).first()
    if user is None:
        user = User.objects.create_user(email=email, password=password)
        user.username = email.split("@")[0]
    elif password is not None:
        user.set_password(password)
    user.is_active = True
    user.save()
    return user


ACTIONS = {"invite": invite, "deactivate": deactivate}


def main() -> None:
    """Answer the request on the standard input."""
    import label_studio

    request = json.load(sys.stdin)
    sys.path.insert(0, os.path.dirname(label_studio.__file__))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "core.settings.label_studio")
    import django

    answers, sys.stdout = sys.stdout, sys.stderr  # what Django prints is no answer
    django.setup()
    answer = ACTIONS[request["action"]](request)
    json.dump(answer, answers)


if __name__ == "__main__":
    main()
