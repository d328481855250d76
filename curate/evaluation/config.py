"""What an evaluation is told. Standard library only."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How much of a workspace is measured."""

    images_per_version: int = 500  # a fair sample where there are more; 4 at least for KID
    images_per_prompt: int = 8  # of the sample, compared pairwise for MS-SSIM
