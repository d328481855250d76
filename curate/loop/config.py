"""What a loop and a quickstart are told. Standard library only."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from curate.production.config import GeneratorChoice
from curate.rating.config import Pictures
from curate.release.config import ExportConfig
from generators.config import SamplingSettings, setting
from generators.rl.config import BEFORE, RLConfig, usual

ENDS = ("promoted", "rejected")  # states of a round that nothing follows
# what a loop goes on with that was begun when its raters were asked without these
ASKED_BEFORE: dict[str, Any] = {"control_fraction": 0.0, "repeat_fraction": 0.0, "anchors": 0}
# and one that was begun when a gate let pass what had perhaps not risen
GATED_BEFORE: Mapping[str, Any] = {"gate_tolerance": 0.05, "gate_confidence": 0.8}


@dataclass(frozen=True, kw_only=True)
class SafetyLimits:
    """When a new version is rejected before anybody is asked about it; against the start version.

    The share of near-copies apart, all are changes: a start version may lie outside already.
    """

    max_likeness_rise: float = 0.10  # of MS-SSIM among images of a prompt, relative
    max_vendi_fall: float = 0.10  # of the Vendi score among images of a prompt, relative
    max_copied: float = 0.05  # share of near-copies of training images, lower end of its interval
    max_far_rise: float = 0.10  # of the share of images unlike any training image
    max_shift: float = 2.0  # of a modality's mean brightness .. colour, in standard deviations
    # beside real images, where there are so many of a modality on each side
    fewest: int = 40
    least_real_above: float = 0.5  # share of pairs in which the reward prefers an unseen real image
    max_exposure: float = 0.10  # mean brightness, contrast, detail off that of real ones, relative
    false_alarms: float = 0.05  # of these guards together, on a version that is like its start


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """One loop: how much is generated and rated a round, and when a new version is kept."""

    name: str = "loop"  # its rounds, and its campaigns' names, begin with it
    raters: str = setting(
        "simulated",
        "Who rates; label-studio: the invited people.",
        choices=("simulated", "label-studio"),
        panel="Rounds",
    )
    images_per_prompt: int = setting(16, "Images per prompt to make and rate in each round.", min=1)
    num_raters: int = 3  # of simulated ones
    overlap: int = 2  # raters an image
    control_fraction: float = 0.1  # real images mixed in among a round's, where there are some
    repeat_fraction: float = 0.05  # of a rater's images, seen a second time
    # real images, and as many spoiled ones, that the first round asks about too: what a reward
    # model learns from them holds its scale; at most a quarter each of the real images there are
    anchors: int = 40
    # at seeds that no round before has used
    gate_images_per_prompt: int = setting(
        8,
        "Images per prompt and version to rate at the gate.",
        option="--gate-images",
        min=1,
    )
    gate_real_images: int = 40  # mixed in where the workspace has that many
    gate_tolerance: float = 0.0  # a fall in the share of top ratings that must be excluded
    gate_confidence: float = 0.92  # of the two-sided interval around the difference
    seed: int = setting(0, "Random seed of the whole loop.")
    safety: SafetyLimits = field(default_factory=SafetyLimits)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    rl: RLConfig = field(default_factory=usual, metadata={"options": ("num_updates",)})

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a row."""
        return {**asdict(self), "rl": self.rl.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "LoopConfig":
        """Read what `to_json` wrote, also of a curate that had fewer settings."""
        known = {**ASKED_BEFORE, **values}
        return cls(
            safety=SafetyLimits(**known.pop("safety", {})),
            sampling=SamplingSettings.from_json(known.pop("sampling")),
            rl=RLConfig.from_json(known.pop("rl")),
            **known,
        )

    def as_begun(self, values: Mapping[str, Any]) -> "LoopConfig":
        """Return these settings, those that a loop's first round wrote in place of later defaults.

        A loop is finished as it was begun: its raters, its gate and its siblings.
        """
        begun = LoopConfig.from_json(values)
        changes = {name: old for name, old in ASKED_BEFORE.items() if name not in values}
        now = {name: getattr(LoopConfig, name) for name in GATED_BEFORE}
        if all(getattr(begun, name) == old for name, old in GATED_BEFORE.items()) and all(
            getattr(self, name) == new for name, new in now.items()
        ):
            changes |= GATED_BEFORE
        if all(getattr(begun.rl, name) == value for name, value in BEFORE.items()):
            changes["rl"] = replace(self.rl, **BEFORE)
        return replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """Which loop, how far, and where it begins."""

    name: str = setting(
        LoopConfig.name, "Name of the loop; a new name begins a new loop.", panel="Rounds"
    )
    rounds: int = setting(1, "Total number of rounds, earlier ones included.", min=1)
    sheet: Path | None = setting(
        None,
        "CSV of prompts with columns modality, text and optionally label.",
        option="--prompts",
        shown="the embedded model's",
        panel="What it starts from",
    )
    start: GeneratorChoice = field(
        default_factory=GeneratorChoice, metadata={"options": ("version",)}
    )
    pictures: Pictures = field(default_factory=Pictures, metadata={"options": True})
    demo: str | None = setting(
        None,
        "Run this family's demo instead, in a workspace of its own: procedural data, simulated "
        "raters, a checked release. Only --seed counts beside it.",
        shown="none",
        panel="Demo",
    )


@dataclass(frozen=True, kw_only=True)
class QuickstartOptions:
    """How far a quickstart goes, and with which draws."""

    rounds: int = setting(2, "Number of rounds.", min=1)
    seed: int = setting(0, "Random seed.")


@dataclass(frozen=True, kw_only=True)
class CircleConfig:
    """How much a demo's circle does."""

    loop: LoopConfig
    rounds: int
    release_images_per_prompt: int = 8
    judge_images_per_prompt: int = 10  # 20 prompts: 200 pairs of equal noise
    export: ExportConfig = field(default_factory=ExportConfig)  # of its last version
    made_again: int = 0  # images of the release that are made again from their seeds, to prove it


def quickstart_config(
    *, rounds: int = QuickstartOptions.rounds, seed: int = QuickstartOptions.seed
) -> CircleConfig:
    """Return what takes 4 minutes on 2 idle cores: 10 steps, 2 of them trained, no guidance.

    The embedded model lacks detail rather than anatomy, so its trained steps lie in the cleaner
    half; that is where rewards are hacked too, hence the tight budget (docs/results.md).
    """
    return CircleConfig(
        rounds=rounds,
        loop=LoopConfig(
            name="quickstart",
            images_per_prompt=10,
            gate_images_per_prompt=6,
            seed=seed,
            sampling=SamplingSettings(num_steps=10, sampler="dpm++", batch_size=32),
            rl=RLConfig(
                num_updates=4,
                prompts_per_update=8,
                group_size=8,
                branches=4,
                num_steps=10,
                window_start=5,
                lora_targets="attention+convolutions",
                learning_rate=2e-3,  # few updates of small adapters
                kl_target=1e-3,
                holds_budget=True,
                base_target=3e-3,
                check_every=2,
                spread_penalty=0.5,
                rollout_dtype="bfloat16",
                seed=seed,
            ),
        ),
    )
