"""How fast a generator version is on this machine, by batch shape and settings; which ones win."""

import shlex
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from curate.errors import CurateError
from curate.production.run import chosen_device
from curate.production.versions import load_version
from curate.workspace import Workspace
from generators.acceleration import accelerate
from generators.base import Prompt, Trajectory, require_trajectory
from generators.config import SamplingSettings
from generators.diffusion.generator import decode
from generators.diffusion.guidance import predict
from generators.diffusion.samplers import initial_noise
from generators.memory import lacks_memory

REPEATS = 3
WORTH_IT = 1.02  # a setting that wins less is noise


@dataclass(frozen=True)
class Speed:
    """One way to make images, and how fast it is."""

    settings: SamplingSettings
    images_per_second: float
    step_s: float  # one evaluation of the denoiser for a batch
    decode_s: float  # of a batch
    memory_gb: float | None  # the most that was taken, on a GPU

    def line(self) -> str:
        """Return the speed for a person to read."""
        memory = "" if self.memory_gb is None else f"  {self.memory_gb:6.1f} GB"
        return (
            f"{self.images_per_second:10.2f} images/s  {self.step_s * 1000:9.1f} ms/step  "
            f"{self.decode_s * 1000:8.1f} ms/decode{memory}  {' '.join(options(self.settings))}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "settings": self.settings.to_json()}


def measure(
    ws: Workspace,
    version_id: str,
    settings: SamplingSettings,
    *,
    device: str = "auto",
    largest_batch: int,
    compiling: bool,
    say: Callable[[str], None],
) -> list[Speed]:
    """Return the speeds of shapes from 1 up, then of settings at the best shape; the best first.

    Shapes are doubled until memory runs out or two doublings in a row have won nothing. `say` is
    told of each speed. Steps are timed by a few of them: there may be fifty in an image.
    """
    where = chosen_device(device)
    found: list[Speed] = []

    def tried(candidate: SamplingSettings) -> Speed | None:
        generator = require_trajectory(load_version(ws, version_id))
        accelerate(generator.to(where), candidate)
        try:
            speed = _speed(generator, candidate)
        except (RuntimeError, MemoryError) as error:
            if not lacks_memory(error):
                raise
            say(f"not enough memory for {' '.join(options(candidate))}")
            return None
        say(speed.line())
        found.append(speed)
        return speed

    rates: list[float] = []
    batch_size = 1
    while batch_size <= largest_batch and not (
        len(rates) > 2 and max(rates[-2:]) < WORTH_IT * max(rates[:-2])
    ):
        speed = tried(replace(settings, batch_size=batch_size))
        if speed is None:
            break
        rates.append(speed.images_per_second)
        batch_size *= 2
    if not found:
        raise CurateError(
            "Not enough memory for one image. Close other programs, or use another device."
        )
    changes: list[dict[str, Any]] = [{"channels_last": True}, {"dtype": "bfloat16"}]
    changes += [{"decoder_dtype": "bfloat16"}] if where.type == "cuda" else []
    changes += [{"compile": True}] if compiling else []
    for change in changes:  # each on top of what has won so far
        tried(replace(best(found).settings, **change))
    return sorted(found, key=lambda speed: -speed.images_per_second)


def best(found: list[Speed]) -> Speed:
    """Return the first of the fastest: a later one must win by more than noise."""
    chosen = found[0]
    for speed in found[1:]:
        if speed.images_per_second > WORTH_IT * chosen.images_per_second:
            chosen = speed
    return chosen


def options(settings: SamplingSettings) -> list[str]:
    """Return the options of `curate generate` that ask for these settings' shape and precision."""
    return [
        *("--batch-size", str(settings.batch_size), "--dtype", settings.dtype),
        *(("--decoder-dtype", "bfloat16") if settings.decoder_dtype == "bfloat16" else ()),
        *(("--channels-last",) if settings.channels_last else ()),
        *(("--compile",) if settings.compile else ()),
    ]


def command(settings: SamplingSettings) -> str:
    """Return the command to generate with these settings."""
    steps = ["--steps", str(settings.num_steps), "--guidance", f"{settings.guidance:g}"]
    words = ["curate", "generate", "--prompts", "prompts.csv", *steps, *options(settings)]
    return shlex.join([*words, "--sampler", settings.sampler])


@torch.inference_mode()
def _speed(generator: Trajectory, settings: SamplingSettings) -> Speed:
    size, device = settings.batch_size, generator.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    conditions = generator.conditioner([Prompt("OCT", "normal")] * size).to(device)
    x_t = initial_noise(range(size), generator.latent_shape).to(device)
    t_B = torch.full((size,), generator.process.timesteps(settings.num_steps)[0])
    bfloat16 = settings.decoder_dtype == "bfloat16"

    def decoded() -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            return decode(generator, x_t, size)

    step_s = _seconds(lambda: predict(generator, x_t, t_B, conditions, settings), device)
    decode_s = _seconds(decoded, device)
    on_gpu = device.type == "cuda"
    return Speed(
        settings=settings,
        images_per_second=size / (settings.num_steps * step_s + decode_s),
        step_s=step_s,
        decode_s=decode_s,
        memory_gb=torch.cuda.max_memory_reserved(device) / 1e9 if on_gpu else None,
    )


def _seconds(call: Callable[[], Any], device: torch.device) -> float:
    """Return the median of a few calls, after one that warms up and compiles."""
    seconds = []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])
