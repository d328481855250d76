"""Settings of simulated raters and of the managed Label Studio. Standard library only."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# A rater whose row names no eyes looks through these: they shipped before rows named any.
FIRST_EYES = "0f48b472343c39501f89f3bf1722aca33f30b1b9afd615ed86befcf09c2f46ac"


@dataclass(frozen=True, kw_only=True)
class SimulatedRaterConfig:
    """One simulated rater's habits and eyes; same config, image and occasion: same verdict.

    The unit of `severity` and `noise` is the width of one middle grade, so that one rater fits
    every truth network: with thresholds 0.2 and 0.6, noise 0.5 is a standard deviation of 0.2.
    """

    name: str
    severity: float = 0.0  # above 0: stricter than the thresholds; in grades
    noise: float = 0.35  # standard deviation of one look, in grades
    lapse: float = 0.02  # share of answers that are random, 0 .. 1
    expert_level: int = 3  # 1 = trainee .. 3 = specialist
    seed: int = 0
    eyes: str = FIRST_EYES  # the identity of what the rater looks through

    def __post_init__(self) -> None:
        """Refuse habits that no rater can have."""
        if self.noise < 0 or not 0 <= self.lapse <= 1 or self.expert_level not in (1, 2, 3):
            raise ValueError(f"noise >= 0, lapse in 0..1, expert_level in 1..3, not {self}")

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a row."""
        values = asdict(self)
        if self.eyes == FIRST_EYES:
            del values["eyes"]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "SimulatedRaterConfig":
        """Read what `to_json` wrote."""
        return cls(**values)


def default_raters(
    count: int = 3, *, seed: int = 0, eyes: str = FIRST_EYES
) -> list[SimulatedRaterConfig]:
    """Return raters of different severity and experience, the most experienced first.

    Raters with other eyes are other raters, so they have names of their own.
    """
    kind = "simulated" if eyes == FIRST_EYES else f"simulated-{eyes[:8]}"
    return [
        SimulatedRaterConfig(
            name=f"{kind}-{number + 1}",
            severity=(0.0, 0.3, -0.3)[number % 3],
            noise=0.25 + 0.1 * (number % 3),
            lapse=0.02 + 0.01 * (number % 3),
            expert_level=3 - number % 3,
            seed=seed + number,
            eyes=eyes,
        )
        for number in range(count)
    ]


LABEL_STUDIO_VERSION = "1.23.2"  # of the server; its environment is pinned in label_studio/pins.txt
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Where the managed Label Studio listens."""

    host: str = field(default=LOOPBACK, metadata={"help": "Host or address to listen on."})
    port: int = field(
        default=8090,
        metadata={"help": "Port to listen on; it must be free.", "min": 1, "max": 65535},
    )

    @property
    def url(self) -> str:
        """Return the address on this machine."""
        host = LOOPBACK if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
