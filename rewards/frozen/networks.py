"""The four networks as they ship: opened in single precision, frozen, ready to be asked."""

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from rewards.frozen.architectures import (
    DenseNetwork,
    DepthwiseNetwork,
    GatedNetwork,
    ResidualNetwork,
)
from rewards.frozen.config import SIDE
from rewards.frozen.data import to_side
from rewards.frozen.files import read_about, read_hashes, read_tensors
from rewards.frozen.truth import Calibration, Finding, TruthNetwork

Network = TypeVar("Network", bound=nn.Module)


class FeatureExtractor(nn.Module):
    """Images of any size, float32 [B, 3, H, W] in [0, 1], to standardised features [B, dim]."""

    mean: Tensor
    spread: Tensor

    def __init__(self, backbone: nn.Module, dim: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.dim = dim
        self.register_buffer("mean", torch.zeros(dim))  # over the train images, as is the spread
        self.register_buffer("spread", torch.ones(dim))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return features [B, dim] with mean 0 and standard deviation 1 over the train images."""
        raw_BD: Tensor = self.backbone(to_side(images_BCHW))
        return (raw_BD - self.mean) / self.spread


@dataclass(frozen=True)
class TrainFeatures:
    """What novelty, privacy and KID need of the real images where no real images are."""

    features: Tensor  # [N, dim] of `features`, for the embedded model's train images
    val_to_train: Tensor  # [V] distance of each val image to its nearest train image


def new_eyes(findings: list[Finding]) -> TruthNetwork:
    """Return the untrained network of the simulated raters."""
    return TruthNetwork(ResidualNetwork(), ResidualNetwork.dim, findings)


def new_judge(findings: list[Finding]) -> TruthNetwork:
    """Return the untrained judge."""
    return TruthNetwork(DepthwiseNetwork(), DepthwiseNetwork.dim, findings)


def new_encoder() -> FeatureExtractor:
    """Return the untrained backbone of the reward model."""
    return FeatureExtractor(GatedNetwork(), GatedNetwork.dim)


def new_features() -> FeatureExtractor:
    """Return the untrained feature network."""
    return FeatureExtractor(DenseNetwork(), DenseNetwork.dim)


def load_eyes() -> TruthNetwork:
    """Open what simulated raters see with (A)."""
    return _load_truth("eyes")


def load_judge() -> TruthNetwork:
    """Open the judge (C): it only measures, never rates, rewards or selects."""
    return _load_truth("judge")


def load_encoder() -> FeatureExtractor:
    """Open the backbone of the reward model (B); it has seen no label."""
    return _filled(new_encoder(), "encoder")


def load_features() -> FeatureExtractor:
    """Open the network for KID, novelty, privacy and out-of-distribution checks (D)."""
    return _filled(new_features(), "features")


def train_features() -> TrainFeatures:
    """Open the features of the embedded model's train images."""
    tensors = read_tensors("train_features")
    return TrainFeatures(tensors["features"], tensors["val_to_train"])


def nearest_distances(queries_BD: Tensor, references_ND: Tensor) -> Tensor:
    """Return each query's distance [B] to its nearest reference, between features of length 1."""
    unit_queries = functional.normalize(queries_BD, dim=1)
    unit_references = functional.normalize(references_ND, dim=1)
    return torch.cdist(unit_queries, unit_references).amin(dim=1)


def _load_truth(name: str) -> TruthNetwork:
    about = read_about(name)
    findings = [Finding(**finding) for finding in about["findings"]]
    network = _filled(new_eyes(findings) if name == "eyes" else new_judge(findings), name)
    network.side = about.get("side", SIDE)
    network.identity = read_hashes()[f"{name}.safetensors"]
    network.calibration = Calibration.from_json(about["calibration"])
    return network


def _filled(network: Network, name: str) -> Network:
    network.load_state_dict(read_tensors(name))
    return network.eval().requires_grad_(False)
