"""What a demo is: data, a generator, how much its circle does and what it shows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import entry_points

from curate.errors import CurateError
from curate.evaluation.judge import Pair, ToJudge
from curate.loop.config import CircleConfig, LoopConfig
from curate.release.config import ExportConfig
from curate.report.shown import ShownCases
from curate.workspace import Workspace
from db import queries
from db.models import GeneratorVersion, Prompt
from db.queries.prompts import NewPrompt
from generators.config import SamplingSettings
from generators.rl.config import RLConfig

GROUP = "curate.demos"  # a package's entry points here: name = "module:DEMO"
OWN_DEMOS = {
    "text-to-image": "curate.demos.text_to_image",
    "counterfactual": "curate.demos.counterfactual",
    "translation": "curate.demos.translation",
    "clinical": "curate.demos.clinical",
}
Say = Callable[[str], None]
LEARNING = RLConfig(  # of the families' circles: branches part where two steps are left to train
    num_updates=20,
    prompts_per_update=8,
    group_size=8,
    branches=4,
    lora_rank=16,
    lora_targets="attention+convolutions",
    learning_rate=1e-3,
    kl_target=5e-3,
    holds_budget=True,
    check_every=5,
    spread_penalty=0.5,
)


@dataclass(frozen=True)
class Begun:
    """Where a demo's loop begins."""

    base: GeneratorVersion
    prompts: Sequence[Prompt]
    judged: Sequence[Prompt] = ()  # what judge and release are about; none: the prompts themselves
    # of what base and last version made of `judged` at equal noise: the family's own guard, and
    # what a page shows
    guards: Callable[[Workspace, "MadeAlike"], Sequence["Guard"]] = lambda ws, made: ()
    shows: Callable[[Workspace, "MadeAlike"], ShownCases | None] = lambda ws, made: None


@dataclass(frozen=True)
class MadeAlike:
    """What base and last version made of the same prompts and noise."""

    base_id: str
    last_id: str
    pairs: Sequence[Pair]

    @property
    def sides(self) -> tuple[list[ToJudge], list[ToJudge]]:
        """Return the base's images and the last version's."""
        return [before for before, _ in self.pairs], [after for _, after in self.pairs]

    def first_of_each(self, count: int) -> dict[str, ToJudge]:
        """Return the last version's first image of so many prompts, by prompt."""
        first = {image.prompt_id: image for image in reversed(self.sides[1])}
        return dict(list(reversed(first.items()))[:count])


@dataclass(frozen=True)
class Guard:
    """What a better version of the family must not lose, in figures of base and last version."""

    says: str  # the name and both figures
    needed: str
    holds: bool

    def line(self) -> str:
        """Return it for the table."""
        return (
            f"guard             {self.says} ({self.needed}): {'holds' if self.holds else 'FAILS'}"
        )


@dataclass(frozen=True)
class Demo:
    """A family's whole circle. All its ratings are simulated, and so is its judge."""

    name: str
    # makes or imports the data of a seed, makes or trains the base; again, it finds what is there
    begin: Callable[[Workspace, Say, int], Begun]
    config: Callable[[int], CircleConfig]  # with this seed


def family_circle(
    family: str, seed: int, sampling: SamplingSettings, rl: RLConfig, *, images_per_prompt: int
) -> CircleConfig:
    """Return one round on a family's own criteria, half of the fresh images released and proved.

    No real image is mixed in: it was given no source or prior, and nobody knows its truth.
    """
    loop = LoopConfig(
        name=family,
        images_per_prompt=images_per_prompt,
        gate_images_per_prompt=4,
        control_fraction=0.0,
        anchors=0,
        gate_real_images=0,
        seed=seed,
        sampling=sampling,
        rl=replace(rl, num_steps=sampling.num_steps, guidance=sampling.guidance, seed=seed),
    )
    return CircleConfig(
        loop=loop,
        rounds=1,
        release_images_per_prompt=4,
        judge_images_per_prompt=3,
        export=ExportConfig(top_share=0.5),
        made_again=8,
    )


def store_prompts(ws: Workspace, asked: Sequence[NewPrompt]) -> list[Prompt]:
    """Keep prompts, and return their rows in order."""
    ids = queries.prompts.add_prompts(ws.session, asked)
    ws.session.commit()
    rows = queries.prompts.prompts_by_id(ws.session, ids)
    return [rows[prompt_id] for prompt_id in ids]


def grade(value: float, top: float, middle: float) -> float:
    """Return a quality in grades: 1 where a 3 begins, 0 where a 2 does."""
    return (value - middle) / (top - middle)


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
