"""A generator made ready for mass production: memory layout and compilation as settings say."""

import os
import shutil
import sys
from typing import Any, TypeVar

import torch

from generators.base import Generator, require_trajectory
from generators.config import SamplingSettings
from generators.errors import GeneratorError

AnyGenerator = TypeVar("AnyGenerator", bound=Generator)


def accelerate(generator: AnyGenerator, settings: SamplingSettings) -> AnyGenerator:
    """Lay out and compile the generator's networks in place, where they are, and return it.

    On a GPU, compiling uses CUDA graphs: the compute batches' one fixed shape is what they need.
    """
    if settings.channels_last:
        for network in networks(generator):
            network.to(memory_format=torch.channels_last)
    if settings.compile:
        require_compiler()
        on_gpu = generator.device.type == "cuda"
        mode = "reduce-overhead" if on_gpu else "default"
        denoiser, *decoders = networks(generator)
        denoiser.compile(mode=mode, dynamic=False)
        for decoder in decoders:
            decoder.compile(dynamic=False)
    return generator


def require_compiler() -> None:
    """Raise GeneratorError where torch.compile would find no C++ compiler."""
    name = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(name) is None:
        raise GeneratorError(
            f"--compile needs a C++ compiler, and there is no {name}. Install one (Debian: apt "
            "install g++), name yours in the environment variable CXX, or omit --compile."
        )


def networks(generator: Generator) -> list[Any]:
    """Return the networks that make images: the denoiser's, and the decoder where there is one."""
    denoising = require_trajectory(generator)
    vae = getattr(denoising.codec, "vae", None)
    return [denoising.denoiser.network, *([] if vae is None else [vae.decoder])]
