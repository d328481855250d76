"""What a rater's browser may ask of Label Studio: this list, and nothing else.

It is what the rating page was seen to fetch. A request is never passed on as it came: a rule
matches its decoded path whole, and the request that goes on is written anew from the rule's parts,
so that no spelling of a path, a query or a body means one thing here and another behind.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode

ID = r"[1-9][0-9]{0,9}"
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
FILE = r"[A-Za-z0-9_@~+-][A-Za-z0-9._@~+-]*"  # begins with no dot: neither hidden nor upwards
PICTURE = rf"images/{UUID}/{UUID}-[a-z]+[1-9]?\.png"
AFTER_LOGIN = rf"|/|/projects/{ID}/data/?\?labeling=1|/practice/{UUID}"
ANSWER = frozenset(("result", "lead_time", "was_cancelled", "draft_id", "started_at"))
DRAFT = frozenset(("result", "lead_time", "was_cancelled", "started_at"))
LOGIN = frozenset(("email", "password", "persist_session", "csrfmiddlewaretoken"))


@dataclass(frozen=True)
class Rule:
    """Requests that look like this; named groups of the path are things that the rater must own."""

    method: str
    path: str  # a regular expression, without the slash at the end, which may be there or not
    query: Mapping[str, str] = field(default_factory=dict)  # passed on, by name: what must fit
    needed: tuple[str, ...] = ()  # of the query
    body: frozenset[str] | None = None  # what is passed on of it; None: nothing is read
    is_form: bool = False


@dataclass(frozen=True)
class Call:
    """One request as it goes on."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    owned: tuple[tuple[str, int], ...]  # (project | task | annotation | draft, number)
    body: frozenset[str] | None
    is_form: bool

    @property
    def target(self) -> str:
        """Return path and query, encoded once and by us."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path


class Refused(Exception):
    """No rule fits."""


_PROJECT, _TASK = rf"(?P<project>{ID})", rf"(?P<task>{ID})"
_ANNOTATION, _DRAFT = rf"(?P<annotation>{ID})", rf"(?P<draft>{ID})"
_OF_PROJECT = ("project",)
_COUNTS = {"interaction": "[a-z]{1,20}", "include": "[a-z_,]{1,200}"}  # in the page's corner
RULES = (
    Rule("GET", "/user/login", {"next": AFTER_LOGIN}),
    Rule("POST", "/user/login", {"next": AFTER_LOGIN}, body=LOGIN, is_form=True),
    Rule("GET", "/logout"),
    Rule("GET", rf"/(?:static|react-app)(?:/{FILE})+", {"v": "[A-Za-z0-9._-]{1,64}"}),
    Rule("GET", r"/(?:favicon\.ico|sw\.js|sw-fallback\.js)"),
    Rule("GET", "/api/version"),
    Rule("GET", "/api/current-user/whoami"),
    Rule("GET", f"/projects/{_PROJECT}/data", {"labeling": "1", "task": ID}),
    Rule("GET", f"/api/projects/{_PROJECT}"),
    Rule("GET", f"/api/projects/{_PROJECT}/next"),
    Rule("GET", f"/api/projects/{_PROJECT}/label-stream-history"),
    Rule("GET", "/api/(?:ml|users|dm/columns|dm/views)", {"project": ID}, needed=_OF_PROJECT),
    Rule("GET", "/api/dm/project", {"project": ID, **_COUNTS}, needed=_OF_PROJECT),
    Rule("GET", "/api/label_links", {"project": ID, "expand": "label"}, needed=_OF_PROJECT),
    # filters in its body would choose another task than the next: none is passed on
    Rule(
        "POST",
        "/api/dm/actions",
        {"id": "next_task", "project": ID},
        needed=("id", "project"),
        body=frozenset(),
    ),
    Rule("GET", f"/api/tasks/{_TASK}", {"interaction": "[a-z]{1,20}"}),
    Rule(
        "POST", f"/api/tasks/{_TASK}/annotations", {"was_cancelled": "[a-z0-1]{1,5}"}, body=ANSWER
    ),
    Rule("POST", f"/api/tasks/{_TASK}/drafts", body=DRAFT),
    Rule("POST", f"/api/tasks/{_TASK}/annotations/{_ANNOTATION}/drafts", body=DRAFT),
    Rule("PATCH", f"/api/annotations/{_ANNOTATION}", body=ANSWER),
    Rule("DELETE", f"/api/annotations/{_ANNOTATION}"),
    Rule("PATCH", f"/api/drafts/{_DRAFT}", body=DRAFT),
    Rule("DELETE", f"/api/drafts/{_DRAFT}"),
    # a name that nobody can guess, and that only the rater's own tasks tell
    Rule("GET", "/data/local-files", {"d": PICTURE}, needed=("d",)),
)
_COMPILED = tuple((re.compile(rule.path), rule) for rule in RULES)


def call_for(method: str, path: str, query_string: str) -> Call:
    """Return the request to pass on. `path` is decoded once. Raises Refused.

    A query's unknown names are left out; a known one must fit and stand there once.
    """
    plain = path[:-1] if path.endswith("/") else path
    for pattern, rule in _COMPILED:
        if rule.method == method and (found := pattern.fullmatch(plain)):
            try:
                given = parse_qsl(
                    query_string, keep_blank_values=True, errors="strict", max_num_fields=20
                )
            except ValueError:
                raise Refused from None
            query = tuple((name, value) for name, value in given if name in rule.query)
            names = {name for name, _ in query}
            if len(names) < len(query) or not set(rule.needed) <= names:
                raise Refused
            if not all(re.fullmatch(rule.query[name], value) for name, value in query):
                raise Refused
            owned = {**found.groupdict(), **{k: v for k, v in query if k in ("project", "task")}}
            return Call(
                method=method,
                path=path,
                query=query,
                owned=tuple((kind, int(number)) for kind, number in owned.items()),
                body=rule.body,
                is_form=rule.is_form,
            )
    raise Refused
