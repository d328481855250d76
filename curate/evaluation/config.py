"""What an evaluation is told. Standard library only."""

from dataclasses import dataclass
from pathlib import Path

from generators.config import setting

OF_A_SET = ("fidelity", "diversity", "label-truth", "privacy", "retrieval")
UTILITY = "utility"  # of sets beside one another


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How much of a workspace is measured."""

    # a fair sample where there are more; KID needs 4
    images_per_version: int = setting(
        500, "Largest number of images per version to measure; 4 or more.", option="--images", min=1
    )
    images_per_prompt: int = 8  # of the sample, compared pairwise for MS-SSIM


@dataclass(frozen=True, kw_only=True)
class AxesConfig:
    """What is measured against real images, and with which network."""

    only: tuple[str, ...] = setting(
        (),
        "Measure this axis only; repeat for several.",
        choices=(*OF_A_SET, UTILITY),
        panel="Axes",
    )
    full: bool = setting(
        False,
        "Also train a small network on pixels, a captioner and features without labels, each with "
        "and without the sets; most of an hour on two cores.",
    )
    features: str = setting(
        "features",
        "Feature network for comparing images: `features` (network D, which ships), a folder "
        "(transformers, open_clip) or torchvision/NAME.",
    )
    label_classifier: str = setting(
        "linear", "What reads labels: linear, cnn, swin-tiny or torchvision/NAME."
    )
    table: str | None = setting(
        None,
        "Print a publication's table instead: minim (FID, IS, MS-SSIM, CAS, IIR, ITR by modality).",
        choices=("minim",),
    )
    by: str | None = setting(
        None, "Column of the tables; figures are also given for each of its groups."
    )


@dataclass(frozen=True, kw_only=True)
class SeriesConfig:
    """Which versions are measured one after the other, on images made for it."""

    along: str | None = setting(
        None,
        "Measure what the training of this version kept on its way (`train-generator "
        "--keep-every`), from its start to its end.",
        panel="Versions in a row",
    )
    ablation: tuple[str, ...] = setting(
        (), "Compare this version with the others that are named so; repeat for several."
    )
    prompts_in_all: int = setting(
        20, "Largest number of real images' prompts that are drawn.", option="--series-prompts"
    )


@dataclass(frozen=True, kw_only=True)
class EditsConfig:
    """Whether edits are measured instead, and of how many patients."""

    edits: bool = setting(
        False, "Measure a version's edits of test patients' priors instead.", panel="Edits"
    )
    num_patients: int = setting(
        50, "Largest number of patients whose edits are measured.", option="--patients", min=2
    )
    num_flips: int = setting(
        3,
        "Edits of each procedural patient that flip one finding against the journey.",
        option="--flips",
        min=1,
    )

    findings: str | None = setting(
        None,
        "Your judge of findings: a folder (transformers or torchvision, safetensors), "
        "module:function, or a package's entry point.",
    )
    attributes: str | None = setting(None, "Your judges of what should stay: age=MODEL,race=MODEL.")
    attributes_of: Path | None = setting(
        None, "CSV of what is true of the patients: patient,age,race."
    )


@dataclass(frozen=True, kw_only=True)
class UtilityConfig:
    """Which classifiers are trained, on how many images."""

    model: str = setting(
        "linear", "Classifier: linear (on features), cnn, swin-tiny or torchvision/NAME."
    )
    features: str = setting(
        "features",
        "Feature network of the linear classifier: `features` (D), a folder or torchvision/NAME.",
    )
    per_class: str = setting("5,10,20,all", "Real images of each class.")
    ratios: str = setting("1,5", "Synthetic images for each real one.")
    draws: int = setting(5, "Draws of real and synthetic images for each arm.", min=1)
    steps: int = setting(250, "Training steps; not for the linear classifier.", min=1)
    task: str = setting(
        "modality", "Column of the real tables; classes are told apart within each of its values."
    )


@dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """Which captioners are trained, on how many images."""

    model: str = setting(
        "tiny",
        "Captioner: tiny (3 layers, 0.6 M weights), gpt2 (12 layers, untrained) or a folder with a "
        "GPT-2 and its tokenizer.",
    )
    features: str = setting(
        "features", "Feature network that it sees: `features` (D), a folder or torchvision/NAME."
    )
    ratios: str = setting("1,5", "Synthetic images for each real one.")
    draws: int = setting(3, "Draws of synthetic images and of first weights for each arm.", min=1)
    steps: int = setting(400, "Training steps, of 32 images.", min=1)


@dataclass(frozen=True, kw_only=True)
class SelfSupervisedConfig:
    """Which network learns without labels, and how long."""

    model: str = setting(
        "densenet-tiny", "Network: densenet-tiny (64 pixels) or torchvision/densenet121."
    )
    per_class: str = setting("10,all", "Labelled real images of each class for the probe.")
    draws: int = setting(3, "Draws of labelled images and of first weights for each arm.", min=1)
    steps: int = setting(300, "Training steps without labels, of 64 images.", min=1)
    task: str = setting(
        "modality", "Column of the real tables; classes are told apart within each of its values."
    )
