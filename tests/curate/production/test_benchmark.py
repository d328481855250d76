import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cli
from curate.production.benchmark import Speed, best, command, measure
from curate.production.versions import save_version
from curate.workspace import Workspace
from generators.base import Denoiser
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator

SETTINGS = SamplingSettings(num_steps=3)


def speed(images_per_second: float, batch_size: int = 1) -> Speed:
    settings = SamplingSettings(batch_size=batch_size)
    return Speed(settings, images_per_second, step_s=0.1, decode_s=0.1, memory_gb=None)


def test_a_setting_must_win_by_more_than_noise() -> None:
    assert best([speed(10, 1), speed(10.1, 2), speed(12, 4), speed(12.2, 8)]) == speed(12, 4)


def test_the_command_it_recommends_is_one_that_generate_takes() -> None:
    settings = SamplingSettings(batch_size=8, channels_last=True, dtype="bfloat16", num_steps=7)
    words = shlex.split(command(settings))[1:]
    assert CliRunner().invoke(cli.app, [*words, "--help"]).exit_code == 0
    assert {"--channels-last", "--batch-size", "8", "bfloat16", "7"} <= set(words)


def test_shapes_are_doubled_until_memory_runs_out_and_then_settings_are_tried(
    workspace: Workspace,
    tiny_generator: DiffusionGenerator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny_generator.save(tmp_path / "tiny")
    version = save_version(
        workspace,
        tmp_path / "tiny",
        generator_name="t",
        family="text-to-image",
        how_made="imported",
    )
    real = Denoiser.forward

    def small_memory(self: Denoiser, x_t: object, t_B: object, conditions: object) -> object:
        if len(x_t) > 2:  # type: ignore[arg-type]
            raise MemoryError
        return real(self, x_t, t_B, conditions)  # type: ignore[arg-type]

    monkeypatch.setattr(Denoiser, "forward", small_memory)
    told: list[str] = []
    found = measure(
        workspace,
        version.id,
        SETTINGS,
        device="cpu",
        largest_batch=64,
        compiling=False,
        say=told.append,
    )
    assert [one.settings.batch_size for one in found if one.settings.dtype == "float32"]
    assert {one.settings.batch_size for one in found} == {1, 2}
    assert told[2] == "not enough memory for --batch-size 4 --dtype float32"
    assert any(one.settings.channels_last for one in found)
    assert any(one.settings.dtype == "bfloat16" for one in found)
    rates = [one.images_per_second for one in found]
    assert rates == sorted(rates, reverse=True)
    slowest = 3 * found[-1].step_s + found[-1].decode_s
    assert rates[-1] == pytest.approx(found[-1].settings.batch_size / slowest)
