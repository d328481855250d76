"""The embedded model on its own prompts: what `curate quickstart` runs."""

from collections.abc import Callable

from curate.demos.base import Begun, Demo
from curate.loop.config import quickstart_config
from curate.production.versions import embedded_version
from curate.prompts.plan import embedded_prompts
from curate.workspace import Workspace


def begin(ws: Workspace, say: Callable[[str], None], seed: int = 0) -> Begun:
    """Take the version and the prompts that ship: the same with every seed."""
    return Begun(embedded_version(ws), embedded_prompts(ws))


DEMO = Demo("text-to-image", begin, lambda seed: quickstart_config(seed=seed))
