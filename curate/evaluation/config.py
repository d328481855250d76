"""What an evaluation is told. Standard library only."""

from dataclasses import dataclass

from generators.config import setting


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How much of a workspace is measured."""

    # a fair sample where there are more; KID needs 4
    images_per_version: int = setting(
        500, "Most images of each version to measure; 4 or more.", option="--images", min=1
    )
    images_per_prompt: int = 8  # of the sample, compared pairwise for MS-SSIM
