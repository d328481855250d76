"""Who simulates raters and judge of a version's images: its family, or the truth of demo data.

A family may have both in its module (`SIMULATED`). On a demo's procedural data they know the truth:
the workspace says whose demo it holds, and that demo's module makes them.
"""

import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

from curate.workspace import Workspace
from db.folders import replace_file
from generators.registry import simulated_of
from generators.simulated import Simulated

MARK = "demo.json"  # in the workspace: which demo's data it holds
# by family: the module whose `simulated(ws)` knows the truth of the demo's data
KNOW_THE_TRUTH = {
    "counterfactual": "curate.demos.counterfactual",
    "translation": "curate.demos.translation",
    "clinical": "curate.demos.clinical",
    "clinical-gan": "curate.demos.clinical",
}
DATA_OF = {"clinical-gan": "clinical"}  # a family that is taught another one's demo data


def hold_demo(ws: Workspace, family: str, **drawn: int) -> None:
    """Note that the workspace holds a demo's data, and what it was drawn with."""
    replace_file(ws.folder / MARK, json.dumps({"demo": family, **drawn}).encode())


def held_demo(ws: Workspace) -> dict[str, Any]:
    """Return what was noted; nothing where the workspace holds no demo."""
    mark = ws.folder / MARK
    found: dict[str, Any] = json.loads(mark.read_text("utf-8")) if mark.is_file() else {}
    return found


def simulated_for(ws: Workspace, family: str | None) -> Simulated | None:
    """Return the simulated raters and judge of a family's images here; None: those that ship."""
    if family is None:
        return None
    own = simulated_of(family)
    if own is not None or held_demo(ws).get("demo") != DATA_OF.get(family, family):
        return own
    make: Callable[[Workspace], Simulated] = import_module(KNOW_THE_TRUTH[family]).simulated
    return make(ws)
