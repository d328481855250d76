"""What a new version may not do beside real images: by hand, and by planted pictures."""

from typing import Any

import numpy as np
import pytest
import torch

from curate.evaluation.sets import SetImage
from curate.loop.beside_real import (
    Group,
    _exposure_beside_real,
    _guard_modalities,
    _manifold_falls,
    _read_share_falls,
    _reward_beside_real,
    check_beside_real,
)
from curate.loop.config import SafetyLimits
from curate.samples.pixels import pixels_hash, png_bytes
from curate.workspace import Workspace
from db import queries
from db.models import Image
from tests.curate.pictures import picture

LIMITS = SafetyLimits()


def around(mean: float, count: int = 60, seed: int = 0) -> torch.Tensor:
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.normal(mean, 0.05, count))


def test_a_reward_that_overtook_real_images_is_refused_in_words() -> None:
    reason, metrics = _reward_beside_real(around(0.5), around(0.4), around(0.6), LIMITS)
    assert reason is not None and "prefers the real one in" in reason
    assert metrics["new"]["value"] < 0.5 < metrics["start"]["value"]
    assert _reward_beside_real(around(0.5), around(0.4), around(0.45), LIMITS)[0] is None
    # the start was there already, and the new version is nearer
    assert _reward_beside_real(around(0.5), around(0.7), around(0.6), LIMITS)[0] is None


@pytest.mark.parametrize(
    ("start", "new", "is_refused"),
    [(1.0, 1.25, True), (1.0, 0.75, True), (1.0, 1.05, False), (1.3, 1.2, False)],
)
def test_exposure_may_be_a_tenth_off_or_come_nearer(
    start: float, new: float, is_refused: bool
) -> None:
    real, before, after = (around(0.5 * share, seed=n) for n, share in enumerate((1.0, start, new)))
    refused, shares = _exposure_beside_real(real, before, after, LIMITS, confidence=0.99)
    assert refused is is_refused
    assert shares["new"] == pytest.approx(float(after.mean() / real.mean()))


def features(count: int, seed: int, *, modes: int = 3) -> torch.Tensor:
    random = np.random.default_rng(seed)
    centres = np.eye(8)[np.arange(count) % modes] * 6
    return torch.from_numpy(centres + random.normal(0, 1, (count, 8))).float()


def test_a_version_that_lost_modes_covers_less_of_the_real_images() -> None:
    falls = _manifold_falls(
        features(60, 0), features(60, 1), features(60, 2, modes=1), confidence=0.99
    )
    assert falls["coverage"].high < 0 and falls["coverage"].value < -0.4
    same = _manifold_falls(features(60, 0), features(60, 1), features(60, 2), confidence=0.99)
    assert same["coverage"].low < 0 < same["coverage"].high


def labelled(count: int, right: int, seed: int) -> tuple[torch.Tensor, list[SetImage]]:
    """Images of two labels, `right` of which show what they are called."""
    random = np.random.default_rng(seed)
    asked = np.arange(count) % 2
    shows = np.where(np.arange(count) < right, asked, 1 - asked)
    values = np.eye(8)[shows] * 6 + random.normal(0, 0.5, (count, 8))
    images = [
        SetImage(
            file_sha256=f"{seed}-{n}",
            name=str(n),
            modality="OCT",
            label=("amd", "dme")[label],
            text="",
            patient=f"{seed}-{n}",
        )
        for n, label in enumerate(asked)
    ]
    return torch.from_numpy(values).float(), images


@pytest.mark.parametrize(("right", "is_refused"), [(30, True), (66, False), (80, False)])
def test_a_version_whose_labels_are_read_less_often_is_refused(
    right: int, is_refused: bool
) -> None:
    sides = {"real": labelled(60, 60, 0), "start": labelled(80, 64, 1)}
    sides["new"] = labelled(80, right, 2)
    group = Group({}, {k: v[0] for k, v in sides.items()}, {k: v[1] for k, v in sides.items()})
    reason, metrics = _read_share_falls({"OCT": group}, confidence=0.98)
    assert (metrics["start"], metrics["new"]) == (0.8, right / 80)  # as planted
    assert (reason is not None) is is_refused
    if reason is not None:
        assert "in 38 % of images, start 80 %" in reason
    assert _read_share_falls({}, confidence=0.98) == (None, {})


def test_start_against_itself_at_fresh_noise_is_rarely_refused() -> None:
    """Two modalities, 20 pairs of sets drawn from one law: at most one in ten."""
    refused = 0
    for trial in range(20):
        groups = {}
        for modality in range(2):
            seeds = {side: 100 * trial + 10 * modality + n for n, side in enumerate(SIDES)}
            groups[f"m{modality}"] = Group(
                {side: drawn(48, seed) for side, seed in seeds.items()},
                {side: features(48, seed) for side, seed in seeds.items()},
                {side: labelled(48, 40, seed)[1] for side, seed in seeds.items()},
            )
        refused += bool(_guard_modalities(groups, LIMITS)[0])
    assert refused <= 2


SIDES = ("real", "start", "new")


def drawn(count: int, seed: int) -> torch.Tensor:
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.normal(0.4, 0.08, (count, 4)))


def add(ws: Workspace, brightness: float, count: int, first: int, **of: Any) -> list[Image]:
    prompt = queries.prompts.get_or_add_prompt(ws.session, modality="OCT", text="an eye")
    images = []
    for number in range(count):
        array = picture(brightness, first + number, 64)
        [sha] = queries.files.add_files(ws.session, ws.store, [(png_bytes(array), "image/png")])
        image = Image(
            file_sha256=sha,
            pixels_sha256=pixels_hash(array),
            prompt_id=prompt.id,
            shape=[1, 64, 64],
            **of,
        )
        images.append(image)
    return images


def test_an_overexposed_version_is_refused_and_few_images_only_warn(workspace: Workspace) -> None:
    workspace.session.add_all(add(workspace, 0.4, 44, 0, origin="real"))
    workspace.session.commit()
    start = add(workspace, 0.41, 44, 1000, origin="synthetic")
    new = add(workspace, 0.6, 44, 2000, origin="synthetic")
    model: Any = None  # not asked: no real image is held out
    found = check_beside_real(workspace, model, start, new, LIMITS)
    assert any("OCT: brightness left the real images': 1.5" in line for line in found.reasons)
    assert any("0 held-out real images" in line for line in found.warnings)
    few = check_beside_real(workspace, model, start[:20], new[:20], LIMITS)
    assert few.reasons == () and any("OCT: 20 images" in line for line in few.warnings)
