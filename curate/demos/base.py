"""What a demo is: data, a generator, and how much its circle does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points

from curate.errors import CurateError
from curate.loop.config import CircleConfig
from curate.workspace import Workspace
from db.models import GeneratorVersion, Prompt

GROUP = "curate.demos"  # a package's entry points here: name = "module:DEMO"
OWN_DEMOS = {"text-to-image": "curate.demos.text_to_image"}
Say = Callable[[str], None]


@dataclass(frozen=True)
class Begun:
    """Where a demo's loop begins."""

    base: GeneratorVersion
    prompts: Sequence[Prompt]


@dataclass(frozen=True)
class Demo:
    """A family's whole circle. All its ratings are simulated, and so is its judge."""

    name: str
    # makes or imports the data, makes or trains the base version; again, it finds what is there
    begin: Callable[[Workspace, Say], Begun]
    config: Callable[[], CircleConfig]


def find_demo(name: str) -> Demo:
    """Return a demo by name: ours, or one that a package brings."""
    brought = {point.name: point for point in entry_points(group=GROUP)}
    if name in OWN_DEMOS:
        demo: Demo = import_module(OWN_DEMOS[name]).DEMO
    elif name in brought:
        demo = brought[name].load()
    else:
        known = ", ".join(sorted({*OWN_DEMOS, *brought}))
        raise CurateError(f"No demo {name!r}. Known: {known}.")
    return demo
