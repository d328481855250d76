from typing import Any

import pytest
import torch
from torch import Tensor

from curate.evaluation.judge import (
    Judge,
    ToJudge,
    _picture_judge,
    find_judge,
    judged_difference,
    share_of_top,
    shipped_judge,
    tops,
)
from curate.samples.pixels import png_bytes
from curate.workspace import Workspace
from db import queries
from rewards import frozen


def _asked(story: Any, version: int, modality: str | None = None) -> list[ToJudge]:
    version_id = story.versions[version].id
    return [
        ToJudge(image.file_sha256, image.prompt_id, modality or ("OCT", "CXR")[place], "", None)
        for (v, place, _), image in story.images.items()
        if v == version_id
    ]


def _brightness(threshold: float) -> Judge:
    """A judge whose verdict is plain arithmetic: bright images deserve the top rating."""

    def gives_top(images: Tensor, asked: Any) -> Tensor:
        return images.mean(dim=(1, 2, 3)) > threshold

    return _picture_judge("brightness", frozenset({"OCT", "CXR"}), gives_top)


def test_the_shipped_judge_speaks_only_of_what_it_knows(story: Any) -> None:
    known, unknown = _asked(story, 0), _asked(story, 0, modality="Ultrasound")
    answers = tops(story.ws, find_judge(story.ws), [unknown[0], *known, unknown[1]])
    assert answers[0] is None and answers[-1] is None
    assert all(isinstance(answer, bool) for answer in answers[1:-1])
    assert tops(story.ws, shipped_judge(), known) == answers[1:-1]


def test_the_shipped_judge_gives_its_top_rating_from_its_upper_threshold_on(
    workspace: Workspace,
) -> None:
    network = frozen.load_judge()
    noise = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    images = (noise * 255).round() / 255
    levels = (noise * 255).round().byte().permute(0, 2, 3, 1).numpy()
    files = [(png_bytes(one), "image/png") for one in levels]
    sha256s = queries.files.add_files(workspace.session, workspace.store, files)
    modalities = ("OCT", "CXR") * 3
    asked = [
        ToJudge(sha256, "", modality, "", None)
        for sha256, modality in zip(sha256s, modalities, strict=True)
    ]
    truth = network.truth(images, [a.modality for a in asked], [None] * 6)
    expected = truth >= network.thresholds[1]
    assert shipped_judge().tell(workspace, asked) == expected.tolist()


def test_a_share_counts_judged_images_only_and_none_is_no_share() -> None:
    share = share_of_top([True, None, False, True, None])
    assert share is not None and share.value == pytest.approx(2 / 3) and share.num == 3
    assert share_of_top([None, None]) is None and share_of_top([]) is None


def test_brighter_images_at_the_same_seeds_are_a_difference_over_prompts(story: Any) -> None:
    pairs = list(zip(_asked(story, 0), _asked(story, 1), strict=True))
    found = judged_difference(story.ws, _brightness(0.55), pairs)
    assert found is not None and found.judge == "brightness"
    assert (found.before.num, found.after.num, found.difference.num) == (12, 12, 2)
    assert found.difference.value == pytest.approx(found.after.value - found.before.value)
    assert found.difference.value > 0.5


def test_a_version_against_itself_is_no_difference(story: Any) -> None:
    own = _asked(story, 0)
    found = judged_difference(story.ws, shipped_judge(), list(zip(own, own, strict=True)))
    assert found is not None
    assert (found.difference.low, found.difference.value, found.difference.high) == (0, 0, 0)


def test_without_a_judge_of_these_images_there_is_no_difference(story: Any) -> None:
    strange = _asked(story, 0, modality="Ultrasound")
    pairs = list(zip(strange, strange, strict=True))
    assert judged_difference(story.ws, shipped_judge(), pairs) is None


def test_the_shipped_judge_says_the_same_whatever_shares_the_batch(story: Any) -> None:
    asked = _asked(story, 0) + _asked(story, 1)
    together = tops(story.ws, shipped_judge(), asked)
    alone = [tops(story.ws, shipped_judge(), [image])[0] for image in asked[:4]]
    assert together[:4] == alone
    assert torch.is_inference_mode_enabled() is False
