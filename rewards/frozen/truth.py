"""What a simulated rater sees in an image, as one number: does it show what was asked, plausibly?

Shapes: B images, M modalities, F findings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rewards.errors import RewardError
from rewards.frozen.config import MODALITIES
from rewards.frozen.data import to_side


@dataclass(frozen=True)
class Finding:
    """A label of one modality, told apart only from the other labels of its source."""

    modality: str
    label: str
    source: str


@dataclass(frozen=True)
class Calibration:
    """What was frozen on real images after training. The thresholds part the scores 1, 2 and 3."""

    thresholds: tuple[float, float] = (0.0, 0.0)
    temperature: float = 1.0  # of the findings' logits
    measurable: tuple[bool, ...] = ()  # for each finding: can this network tell it apart at all

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


@dataclass(frozen=True)
class TruthParts:
    """The three parts of the truth, each [B] and each at most about 0, its best."""

    plausibility: Tensor  # minus the severity of what is wrong: 0 = like real, -3 = beyond use
    modality: Tensor  # log-probability of the requested modality
    finding: Tensor  # log-probability of the requested finding, 0 where it cannot be measured


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
        self.findings = tuple(findings)
        self.calibration = Calibration(measurable=(False,) * len(self.findings))
        self.dropout = nn.Dropout(dropout)
        self.modality_head = nn.Linear(dim, len(MODALITIES))
        self.finding_head = nn.Linear(dim, len(self.findings))
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

    def heads(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return modality logits [B, M], finding logits [B, F] and severity [B]."""
        features = self.dropout(self.backbone(to_side(images_BCHW)))
        severity_B = self.severity_head(features)[:, 0]
        return self.modality_head(features), self.finding_head(features), severity_B

    def parts(
        self, images_BCHW: Tensor, modalities: Sequence[str], labels: Sequence[str | None]
    ) -> TruthParts:
        """Return plausibility, modality and finding of each image, as its prompt asked for them."""
        modality_BM, finding_BF, severity_B = self.heads(images_BCHW)
        columns = torch.tensor([self._column(name) for name in modalities])
        log_modality_BM = modality_BM.float().log_softmax(dim=1)
        logits_BF = finding_BF.float() / self.calibration.temperature
        findings = [
            self._log_finding(logits_F, modality, label)
            for logits_F, modality, label in zip(logits_BF, modalities, labels, strict=True)
        ]
        log_modality_B = log_modality_BM.gather(1, columns.to(log_modality_BM.device)[:, None])[
            :, 0
        ]
        return TruthParts(-severity_B.float(), log_modality_B, torch.stack(findings))

    def truth(
        self, images_BCHW: Tensor, modalities: Sequence[str], labels: Sequence[str | None]
    ) -> Tensor:
        """Return the latent quality [B], higher is better, without an upper end."""
        parts = self.parts(images_BCHW, modalities, labels)
        weighted = self.PLAUSIBILITY_WEIGHT * parts.plausibility + parts.modality
        return weighted + self.FINDING_WEIGHT * parts.finding

    def score(
        self, images_BCHW: Tensor, modalities: Sequence[str], labels: Sequence[str | None]
    ) -> Tensor:
        """Return 1, 2 or 3 for each image, 3 best."""
        truth_B = self.truth(images_BCHW, modalities, labels)
        low, high = self.thresholds
        return 1 + (truth_B >= low).long() + (truth_B >= high).long()

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
        return logits_F[rivals].log_softmax(dim=0)[0]
