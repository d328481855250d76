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


@dataclass(frozen=True, kw_only=True)
class UtilityConfig:
    """Which classifiers are trained, on how many images."""

    model: str = setting(
        "linear", "Classifier: linear (on features), cnn, swin-tiny or torchvision/NAME."
    )
    features: str = setting(
        "features", "Network of the linear classifier: `features` (D), a folder, torchvision/NAME."
    )
    per_class: str = setting("5,10,20,all", "Real images of each class.")
    ratios: str = setting("1,5", "Synthetic images for each real one.")
    draws: int = setting(5, "Draws of real and synthetic images for each arm.", min=1)
    steps: int = setting(250, "Training steps of a network that is not linear.", min=1)
    task: str = setting("modality", "Column of the real tables whose values are told apart alone.")
