"""What an evaluation is told. Standard library only."""

from dataclasses import dataclass

from generators.config import setting

AXES = ("fidelity", "diversity", "label-truth", "privacy", "retrieval")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How much of a workspace is measured."""

    # a fair sample where there are more; KID needs 4
    images_per_version: int = setting(
        500, "Most images of each version to measure; 4 or more.", option="--images", min=1
    )
    images_per_prompt: int = 8  # of the sample, compared pairwise for MS-SSIM


@dataclass(frozen=True, kw_only=True)
class AxesConfig:
    """What is measured against real images, and with which network."""

    only: tuple[str, ...] = setting(
        (), "Measure this axis only; repeat for several.", choices=AXES, panel="Axes"
    )
    features: str = setting(
        "features",
        "Network whose features images are compared in: `features` (D, which ships), a folder "
        "(transformers, open_clip) or torchvision/NAME.",
    )
    reader: str = setting(
        "linear", "Classifier that reads labels: linear, cnn, swin-tiny or torchvision/NAME."
    )
    by: str | None = setting(None, "Column of the tables by whose groups figures are given.")
