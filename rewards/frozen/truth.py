"""What a simulated rater sees in an image, as one number: does it show what was asked, plausibly?

Shapes: B images, M modalities, F findings.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rewards.errors import RewardError
from rewards.frozen.config import MODALITIES, SIDE
from rewards.frozen.corruptions import KINDS
from rewards.frozen.data import to_side

LOOKS_REAL, SHOWS_ASKED = "looks-real", "shows-asked"  # criteria, as the default rubric names them


@dataclass(frozen=True)
class Finding:
    """A label of one modality, told apart only from the other labels of its source."""

    modality: str
    label: str
    source: str


@dataclass(frozen=True)
class Calibration:
    """What was frozen on real images after training. Thresholds part the scores 1, 2 and 3."""

    thresholds: tuple[float, float] = (0.0, 0.0)
    temperature: float = 1.0  # of the findings' logits
    measurable: tuple[bool, ...] = ()  # for each finding: can this network tell it apart at all
    usual: tuple[float, ...] = (0.0,) * len(MODALITIES)  # weighted parts of real images, median
    # for each criterion of its own; a finding without thresholds is judged by nobody
    looks_real: tuple[float, float] | None = None
    shows_asked: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # "OCT: amd"

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Calibration":
        """Read what `to_json` wrote, also of a network that gives one score alone."""
        low, high = values["thresholds"]
        real = values.get("looks_real")
        asked = values.get("shows_asked", {})
        return cls(
            (low, high),
            values["temperature"],
            tuple(values["measurable"]),
            tuple(values["usual"]),
            None if real is None else (real[0], real[1]),
            {finding: (ends[0], ends[1]) for finding, ends in asked.items()},
        )


@dataclass(frozen=True)
class Heads:
    """What the network says of images: logits, and the severity of what is wrong."""

    modality: Tensor  # [B, M]
    finding: Tensor  # [B, F], to be compared within a source
    severity: Tensor  # [B], 0 = nothing is wrong, 3 = beyond use
    kind: Tensor  # [B, kinds of corruption + 1]


@dataclass(frozen=True)
class TruthParts:
    """The three parts of the truth, each [B] and each at most about 0, its best."""

    plausibility: Tensor  # minus the severity of what is wrong: 0 = like real, -3 = beyond use
    modality: Tensor  # log-probability of the requested modality
    finding: Tensor  # log-probability of the finding against its nearest rival; 0: not measurable


class TruthNetwork(nn.Module):
    """A small network that knows modalities, findings and what corrupted images look like.

    Images are float32 [B, 3, H, W] in [0, 1] of any size; the truth is differentiable in them.
    """

    PLAUSIBILITY_WEIGHT = 3.0
    FINDING_WEIGHT = 0.5

    def __init__(
        self, backbone: nn.Module, dim: int, findings: Sequence[Finding], dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.side = SIDE  # pixels a side that it has learned to look at
        self.findings = tuple(findings)
        self.calibration = Calibration(measurable=(False,) * len(self.findings))
        self.identity = ""  # SHA-256 of the weights file; empty: not opened from one
        self.dropout = nn.Dropout(dropout)
        self.modality_head = nn.Linear(dim, len(MODALITIES))
        self.finding_head = nn.Linear(dim, len(self.findings))
        self.kind_head = nn.Linear(dim, len(KINDS) + 1)  # of corruption, last: none; a lesson only
        self.severity_head = nn.Sequential(nn.Linear(dim, 64), nn.SiLU(), nn.Linear(64, 1))
        places = {f: place for place, f in enumerate(self.findings)}
        self._rivals = {  # places of the labels of the same source, the finding's own first
            (f.modality, f.label): [place]
            + [p for g, p in places.items() if g.source == f.source and p != place]
            for f, place in places.items()
        }

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that can be asked for."""
        return MODALITIES

    @property
    def labels(self) -> Mapping[str, tuple[str, ...]]:
        """For each modality the labels whose presence the truth measures; others are ignored."""
        return {
            modality: tuple(
                f.label
                for f, known in zip(self.findings, self.calibration.measurable, strict=True)
                if known and f.modality == modality
            )
            for modality in MODALITIES
        }

    @property
    def thresholds(self) -> tuple[float, float]:
        """The truths from which on an image gets score 2 and score 3, frozen on real images."""
        return self.calibration.thresholds

    def heads(self, images_BCHW: Tensor) -> Heads:
        """Return everything the network says of images, whatever was asked for."""
        features = self.dropout(self.backbone(to_side(images_BCHW, self.side))).float()
        return Heads(
            modality=self.modality_head(features),
            finding=self.finding_head(features),
            severity=self.severity_head(features)[:, 0],
            kind=self.kind_head(features),
        )

    def parts(
        self, images_BCHW: Tensor, modalities: Sequence[str], labels: Sequence[str | None]
    ) -> TruthParts:
        """Return plausibility, modality and finding of each image, as its prompt asked for them."""
        heads = self.heads(images_BCHW)
        columns = torch.tensor([self._column(name) for name in modalities])
        log_modality_BM = heads.modality.log_softmax(dim=1)
        logits_BF = heads.finding / self.calibration.temperature
        findings = [
            self._log_finding(logits_F, modality, label)
            for logits_F, modality, label in zip(logits_BF, modalities, labels, strict=True)
        ]
        log_modality_B = log_modality_BM.gather(1, columns.to(log_modality_BM.device)[:, None])[
            :, 0
        ]
        return TruthParts(-heads.severity, log_modality_B, torch.stack(findings))

    def truth(
        self, images_BCHW: Tensor, modalities: Sequence[str], labels: Sequence[str | None]
    ) -> Tensor:
        """Return the latent quality [B]: higher is better, 0 is a usual real image."""
        parts = self.parts(images_BCHW, modalities, labels)
        weighted, usual_B = self._weighted(parts, modalities)
        return weighted + self.FINDING_WEIGHT * parts.finding - usual_B

    @property
    def criteria(self) -> tuple[str, ...]:
        """The criteria that this network grades one by one; none: it has one score alone."""
        return () if self.calibration.looks_real is None else (LOOKS_REAL, SHOWS_ASKED)

    def looks_real(self, images_BCHW: Tensor, modalities: Sequence[str]) -> Tensor:
        """Return how real and usable images [B] look as their modality, whatever they show."""
        parts = self.parts(images_BCHW, modalities, [None] * len(modalities))
        weighted, usual_B = self._weighted(parts, modalities)
        return weighted - usual_B

    def grades(
        self, images_BCHW: Tensor, modalities: Sequence[str], labels: Sequence[str | None]
    ) -> dict[str, Tensor]:
        """Return for each criterion the quality [B] in grades: a 2 from 0 on, a 3 from 1 on.

        NaN where the criterion is not judged: a finding that this network cannot tell well enough.
        """
        if self.calibration.looks_real is None:
            raise ValueError("this network has no thresholds for single criteria")
        parts = self.parts(images_BCHW, modalities, labels)
        low, high = self.calibration.looks_real
        weighted, usual_B = self._weighted(parts, modalities)
        real_B = (weighted - usual_B - low) / (high - low)
        nobody = (math.nan, math.nan)
        ends = [
            self.calibration.shows_asked.get(f"{modality}: {label}", nobody)
            for modality, label in zip(modalities, labels, strict=True)
        ]
        low_B, high_B = parts.finding.new_tensor(ends).unbind(dim=1)
        return {LOOKS_REAL: real_B, SHOWS_ASKED: (parts.finding - low_B) / (high_B - low_B)}

    def is_good(
        self, images_BCHW: Tensor, modalities: Sequence[str], labels: Sequence[str | None]
    ) -> Tensor:
        """Return for each image [B] whether every criterion that is judged gets its top grade.

        A network without thresholds for single criteria has one score: whether that is 3.
        """
        if not self.criteria:
            return self.score(images_BCHW, modalities, labels).eq(3)
        grades = torch.stack(list(self.grades(images_BCHW, modalities, labels).values()))
        return (grades.isnan() | (grades >= 1)).all(dim=0)

    def score(
        self, images_BCHW: Tensor, modalities: Sequence[str], labels: Sequence[str | None]
    ) -> Tensor:
        """Return 1, 2 or 3 for each image, 3 best."""
        truth_B = self.truth(images_BCHW, modalities, labels)
        low, high = self.thresholds
        return 1 + (truth_B >= low).long() + (truth_B >= high).long()

    def _weighted(self, parts: TruthParts, modalities: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return plausibility and modality as one [B], and what is usual of real images."""
        weighted = self.PLAUSIBILITY_WEIGHT * parts.plausibility + parts.modality
        usual = [self.calibration.usual[self._column(name)] for name in modalities]
        return weighted, weighted.new_tensor(usual)

    def _column(self, modality: str) -> int:
        if modality not in MODALITIES:
            raise RewardError(
                f"The simulated raters do not know the modality {modality!r}. They know "
                f"{', '.join(MODALITIES)}. Have people rate it: `curate rate push`."
            )
        return MODALITIES.index(modality)

    def _log_finding(self, logits_F: Tensor, modality: str, label: str | None) -> Tensor:
        rivals = self._rivals.get((modality, label or ""))
        if rivals is None or not self.calibration.measurable[rivals[0]]:
            return logits_F.new_zeros(())
        return nn.functional.logsigmoid(logits_F[rivals[0]] - logits_F[rivals[1:]].max())
