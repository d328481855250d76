"""Who may sign in to the site with a password: accounts that look, or also act.

They lie in a file of the workspace that only its owner may read, as salted scrypt hashes. A person
who rates a study that is still open is not let in: the site shows what they rate blind.
"""

import json
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from werkzeug.exceptions import Forbidden, TooManyRequests
from werkzeug.security import check_password_hash, generate_password_hash
from werkzeug.wrappers import Response

from curate.errors import CurateError
from curate.web.pages import Asked, Page, Sessions, signed_in
from curate.workspace import Workspace
from db import queries
from db.folders import rewrite_file

FILE = "site-accounts.json"
ROLES = ("look", "act")  # act: also pause and stop runs, keep images, make studies
MOST_FAILURES = 5  # of one name within FAILED_S; after them even the right password is refused
FAILED_S = 300.0
MOST_NAMES = 1_000  # whose failures are remembered
_AT_ONCE = threading.Semaphore(2)  # scrypt takes 32 MiB and some 60 ms for a password
HASH = "scrypt:32768:8:1"


@dataclass(frozen=True)
class Account:
    """One person who may sign in."""

    name: str  # as they sign in: a name or an e-mail address
    role: str
    password_hash: str = field(repr=False)

    @property
    def may_act(self) -> bool:
        """Say whether the account may change something."""
        return self.role == "act"


def read_accounts(folder: Path) -> dict[str, Account]:
    """Return a workspace's accounts by name; CurateError for a file that others may read."""
    path = folder / FILE
    if not path.is_file():
        return {}
    if path.stat().st_mode & 0o077:
        raise CurateError(
            f"{path} holds the site's accounts and others may read it. Run `chmod 600 {path}`."
        )
    try:
        rows = [Account(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as error:
        raise CurateError(
            f"{path} cannot be read. Delete it and add the accounts again with `curate accounts "
            "add`."
        ) from error
    return {row.name: row for row in rows}


def add_account(ws: Workspace, name: str, role: str) -> str:
    """Add an account, or give one a new password and role; return the password, kept nowhere.

    Raises CurateError for an empty name and an unknown role.
    """
    if not name.strip() or name != name.strip() or len(name) > 200:
        raise CurateError(f"{name[:40]!r} is no name to sign in with.")
    if role not in ROLES:
        raise CurateError(f"No role {role!r}. Known: {', '.join(ROLES)}.")
    password = secrets.token_urlsafe(12)
    account = Account(name, role, generate_password_hash(password, HASH))

    def with_it(accounts: dict[str, Account]) -> dict[str, Account]:
        queries.audit.record_event(ws.session, "accounts add", {"account": name, "role": role})
        return accounts | {name: account}

    _change(ws, with_it)
    return password


def remove_account(ws: Workspace, name: str) -> None:
    """Let a person in no more, from their next page on; CurateError for an unknown name."""

    def without(accounts: dict[str, Account]) -> dict[str, Account]:
        if accounts.pop(name, None) is None:
            raise CurateError(f"No account {name!r}. Known: {', '.join(accounts) or 'none'}.")
        queries.audit.record_event(ws.session, "accounts remove", {"account": name})
        return accounts

    _change(ws, without)


def studies_in_the_way(ws: Workspace, name: str) -> list[str]:
    """Return the open studies that ask the rater of this name or e-mail address."""
    said = name.casefold()
    same = [
        rater.id
        for rater in queries.campaigns.raters(ws.session)
        if said in (rater.name.casefold(), str(rater.config.get("email", "")).casefold())
    ]
    return queries.ratings.open_campaigns_of(ws.session, same) if same else []


def _require_welcome(ws: Workspace, name: str) -> Account:
    """Return the account of this name; Forbidden for one that is gone, or rates an open study."""
    account = read_accounts(ws.folder).get(name)
    if account is None:
        raise Forbidden("This account is closed.")
    if studies_in_the_way(ws, name):
        raise Forbidden(
            "You are asked in a study that is still open, and this site shows what is rated there "
            "blind. Come back when the study is over."
        )
    return account


def welcome(ws: Workspace, asked: Asked) -> Asked:
    """Return a request with the role that its account has now; Forbidden where there is none."""
    if not asked.visitor.has_account:
        return asked
    account = _require_welcome(ws, asked.visitor.name)
    return replace(asked, visitor=replace(asked.visitor, may_act=account.may_act))


class PasswordCheck:
    """Checks passwords, and makes guessing slow."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Begin with no failure."""
        self._nobody = generate_password_hash("", HASH)  # takes as long to check as somebody's
        self._now = now
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def admit(self, ws: Workspace, name: str, password: str) -> Account | None:
        """Return the account that name and password are of, or None.

        Raises TooManyRequests for a name that failed often, Forbidden for a rater of an open study.
        """
        with self._lock:
            failed = self._failures.setdefault(name, deque(maxlen=MOST_FAILURES))
            self._failures.move_to_end(name)
            while len(self._failures) > MOST_NAMES:
                self._failures.popitem(last=False)
            if len(failed) == MOST_FAILURES and self._now() - failed[0] < FAILED_S:
                raise TooManyRequests(
                    f"{MOST_FAILURES} wrong passwords for this name. "
                    f"Wait {FAILED_S / 60:.0f} minutes."
                )
            failed.append(self._now())  # taken back when it was right: guesses at once count too
        account = read_accounts(ws.folder).get(name)
        with _AT_ONCE:
            is_right = check_password_hash(
                account.password_hash if account else self._nobody, password
            )
        if account is None or not is_right:
            return None
        with self._lock:
            failed.clear()
        return _require_welcome(ws, name)

    def sign_in(self, sessions: Sessions, ws: Workspace, asked: Asked) -> Page | Response:
        """Let the sender of a form in, or show the form again."""
        form = asked.request.form
        account = self.admit(ws, form.get("name", "").strip(), form.get("password", ""))
        if account is None:
            return Page("signed_out.html", {"wrong": True}, status=401)
        details = {"signed_in": account.name, "role": account.role}
        queries.audit.record_event(ws.session, "serve", details)
        cookie = sessions.enter(account.name, may_act=account.may_act)
        return signed_in(asked.request, cookie, to="/")


def _change(ws: Workspace, change: Callable[[dict[str, Account]], dict[str, Account]]) -> None:
    """Write what `change` makes of the accounts; who changes them meanwhile waits.

    It records the act before anything is written: nobody is let in or out without a line of the
    audit trail, even if this is killed in between.
    """

    def rewritten() -> bytes:
        accounts = change(read_accounts(ws.folder))
        return json.dumps([asdict(accounts[name]) for name in sorted(accounts)], indent=2).encode()

    rewrite_file(ws.folder / FILE, rewritten, mode=0o600)
