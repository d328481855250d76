"""The scripts that wait for a GPU: they run here on a tiny model, so that they run there."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu_generate, gpu_train, gpu_utility


def printed(
    script: Any, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> str:
    """Return what the script prints for these words."""
    monkeypatch.setattr(sys, "argv", [script.__name__, "--tiny", *words])
    script.main()
    out: str = capsys.readouterr().out
    return out


def test_generating_in_production_is_compared_with_diffusers_pipeline(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    words = ["--images", "2", "--batch-size", "2", "--steps", "2", "--blocks", "1"]
    out = printed(gpu_generate, words, monkeypatch, capsys)
    assert "curate / diffusers" in out and "of the matrix rate" in out


def test_training_with_averages_in_bfloat16_is_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    words = ["--batch-size", "2", "--micro-batch", "1", "--steps", "2", "--checkpointing"]
    out = printed(gpu_train, words, monkeypatch, capsys)
    assert "2 steps of 2 images, 1 a pass" in out and "images/s" in out


def test_networks_that_learn_to_measure_are_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    out = printed(gpu_utility, ["--steps", "1"], monkeypatch, capsys)
    assert [line.partition(":")[0] for line in out.splitlines()[-3:]] == [
        "cnn",
        "densenet-tiny without labels",
        "tiny captioner",
    ]


@pytest.mark.slow
@pytest.mark.apart
def test_the_rl_step_is_timed_beside_trls() -> None:
    """In a process of its own: accelerate, in TRL's trainer, has one precision a process."""
    pytest.importorskip("trl", reason="the extra `trl` is not installed")
    words = ["--tiny", "--blocks", "1", "--train-batch", "16"]
    out = subprocess.run(
        [sys.executable, "-m", "benchmarks.rl.gpu", *words],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert out.returncode == 0, out.stderr
    told = json.loads(out.stdout)
    assert set(told["goals"]) < set(told) and len(told["best_images_per_second"]) == 3
