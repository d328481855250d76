"""What a reward model is fitted to, and what is scored. Standard library only."""

from dataclasses import dataclass

from generators.config import setting


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """Which ratings a reward model is fitted to; none named: all that count."""

    campaigns: tuple[str, ...] = setting(
        (),
        "Fit to this campaign only; repeat for several.",
        option="--campaign",
        panel="Which ratings",
    )
    raters: tuple[str, ...] = setting(
        (), "Fit to this rater's ratings only; repeat for several.", option="--rater"
    )
    criteria: tuple[str, ...] = setting(
        (), "Fit to this question only; repeat for several.", option="--criterion"
    )


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """Whose scores, and of which images."""

    reward_model: str = setting("latest", "Reward model: an id or the first digits of one.")
    version: str | None = setting(None, "Score only images of this generator version.")
    origin: str | None = setting(
        None, "Score only images of this origin.", choices=("real", "synthetic")
    )
