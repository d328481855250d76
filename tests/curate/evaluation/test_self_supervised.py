"""Learning without labels: its loss by hand, and the arms of the command."""

import json
import math
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from cli import app
from rewards.errors import RewardError
from rewards.self_supervised import TEMPERATURE, contrast, encoded, new_encoder
from tests.curate.evaluation.pictured import write_set


def test_the_loss_is_nt_xent() -> None:
    """As written in the publication: one row after the other, in plain Python."""
    random = torch.Generator().manual_seed(0)
    one, other = (torch.randn(3, 4, generator=random, dtype=torch.float64) for _ in range(2))
    looks = [*one.tolist(), *other.tolist()]

    def alike(a: list[float], b: list[float]) -> float:
        product = sum(x * y for x, y in zip(a, b, strict=True))
        return math.exp(product / math.hypot(*a) / math.hypot(*b) / TEMPERATURE)

    terms = []
    for at, look in enumerate(looks):
        others = sum(alike(look, it) for n, it in enumerate(looks) if n != at)
        terms.append(-math.log(alike(look, looks[(at + 3) % 6]) / others))
    assert contrast(one, other).item() == pytest.approx(sum(terms) / 6, rel=1e-9)
    assert contrast(one, one).item() < contrast(one, other).item()


def test_a_network_is_what_its_seed_and_name_say() -> None:
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    seen = [encoded(new_encoder("densenet-tiny", seed=seed), images) for seed in (0, 0, 1)]
    assert seen[0].shape[0] == 2 and torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    with pytest.raises(RewardError, match="No network 'torchvision/swin_t'"):
        new_encoder("torchvision/swin_t", seed=0)


@pytest.mark.slow
def test_the_command_compares_pools_at_equal_steps_and_resumes(tmp_path: Path) -> None:
    asked = {"drusen": ("disc", 6), "fluid": ("bar", 6)}
    real = write_set(tmp_path / "real", asked, seed=1)
    test = write_set(tmp_path / "test", asked, seed=2)
    made = write_set(tmp_path / "made", asked, seed=3)
    arguments = ["utility", "ssl", "--real", str(real), "--test", str(test), "--release"]
    arguments += [str(made.parent), "--steps", "2", "--draws", "1", "--per-class", "3", "--json"]
    arguments += ["--cache", str(tmp_path / "cache")]
    answers = [CliRunner().invoke(app, arguments) for _ in range(2)]
    assert answers[0].exit_code == 0, answers[0].output
    found = json.loads(answers[0].stdout)
    assert [one["arm"] for one in found["arms"]] == [
        "3 real a class: learned from real images",
        "3 real a class: untrained features",
        "3 real a class: learned from real images and made",
        "3 real a class: learned from made alone",
    ]
    assert [one["gain"] is None for one in found["arms"]] == [True, False, False, False]
    assert answers[1].stdout == answers[0].stdout
    assert len(list((tmp_path / "cache" / "results").rglob("*.json"))) == 4
