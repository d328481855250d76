"""Stable Diffusion 1.5's shape at 512 px on a GPU: curate against diffusers' optimised pipeline.

    python -m benchmarks.gpu_generate [--images 64] [--batch-size 16] [--steps 20] [--blocks 5]
                                      [--tiny]

Random weights: speed does not depend on what they have learned. Both make the same number of images
at the same steps, guidance 7.5, DDIM, in the same batches, and give uint8 pixels on the CPU:

- curate: bfloat16 denoiser and decoder, channels_last, torch.compile with CUDA graphs, guidance in
  one batch, PNG files and rows included
- diffusers: its optimisation guide's recipe: bfloat16 weights, channels_last, fused QKV products,
  torch.compile in mode max-autotune of U-Net and decoder; prompt embeddings given; PNG not included

Also shown: the share of the card's own matrix rate (a bfloat16 product of 8192 x 8192, measured
here) that curate's networks reach. Goal: curate / diffusers >= 1.3. Without a GPU it says so.
`--tiny` runs all of it in seconds on a tiny model, on a CPU too and without compiling: it proves
that the script works, its rates mean nothing.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.generate_speed import Production
from curate.production.versions import save_version
from curate.workspace import Workspace, init_workspace, open_workspace
from generators.base import Prompt
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator, decode
from generators.diffusion.guidance import predict
from generators.diffusion.samplers import initial_noise
from tests.tiny import SCHEDULE, tiny_generator

GUIDANCE = 7.5


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def shape(*, tiny: bool) -> DiffusionGenerator:
    """Return the untrained generator that is measured."""
    return tiny_generator() if tiny else sd15_shape()


def sd15_shape() -> DiffusionGenerator:
    """Return an untrained generator with Stable Diffusion 1.5's U-Net and autoencoder."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import BertConfig, BertModel

    from generators.families.text_to_image import text_to_image

    torch.manual_seed(0)
    conditioner: Any = tiny_generator().conditioner
    tokenizer = conditioner.tokenizer
    tokenizer.model_max_length = 77
    text_encoder = BertModel(
        BertConfig(vocab_size=len(tokenizer), hidden_size=768, max_position_embeddings=77)
    )
    unet = UNet2DConditionModel(
        sample_size=64, cross_attention_dim=768, attention_head_dim=8, layers_per_block=2
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    )
    return text_to_image(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        unet=unet,
        vae=vae,
        scheduler_config=SCHEDULE,
    )


def production(ws: Workspace, settings: SamplingSettings, folder: Path) -> Production:
    """Return `curate generate`'s work on the model in `folder`, accelerated."""
    version = save_version(
        ws, folder, generator_name="measured", family="text-to-image", how_made="imported"
    )
    return Production(ws, settings, version=version, device=str(device()))


class Stock:
    """diffusers' pipeline on the same weights, optimised as its documentation recommends."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        from diffusers import DDIMScheduler, StableDiffusionPipeline

        self.options = options
        self.pipe: Any = StableDiffusionPipeline.from_pretrained(
            folder, dtype=torch.bfloat16, safety_checker=None
        ).to(device())
        self.pipe.scheduler = DDIMScheduler.from_config(self.pipe.scheduler.config)
        self.pipe.set_progress_bar_config(disable=True)
        self.pipe.fuse_qkv_projections()
        for name in ("unet", "vae"):
            getattr(self.pipe, name).to(memory_format=torch.channels_last)
        if not options.tiny:
            self.pipe.unet = torch.compile(self.pipe.unet, mode="max-autotune", fullgraph=True)
            self.pipe.vae.decode = torch.compile(
                self.pipe.vae.decode, mode="max-autotune", fullgraph=True
            )
        tokens = (self.pipe.tokenizer.model_max_length, self.pipe.unet.config.cross_attention_dim)
        self.embeddings = torch.randn(
            options.batch_size, *tokens, device=device(), dtype=torch.bfloat16
        )

    def __call__(self, num_images: int) -> None:
        """Make so many images, as arrays on the CPU."""
        for _ in range(num_images // self.options.batch_size):
            self.pipe(
                prompt_embeds=self.embeddings,
                negative_prompt_embeds=torch.zeros_like(self.embeddings),
                num_inference_steps=self.options.steps,
                guidance_scale=GUIDANCE,
                output_type="np",
            )


def matrix_rate(side: int) -> float:
    """Return the device's bfloat16 products of square matrices in FLOP/s, the best of some."""
    a = torch.randn(side, side, device=device(), dtype=torch.bfloat16)
    seconds = min(timed(lambda: [a @ a for _ in range(20)]) / 20 for _ in range(5))
    return 2.0 * side**3 / seconds


def timed(call: Callable[[], Any]) -> float:
    synchronize()
    started = time.perf_counter()
    call()
    synchronize()
    return time.perf_counter() - started


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@torch.inference_mode()
def flop_an_image(generator: DiffusionGenerator, settings: SamplingSettings) -> float:
    """Return what an image costs: both halves of guidance in every step, and the decoder."""
    generator.to(device())
    conditions = generator.conditioner([Prompt("OCT", "normal")]).to(device())
    x_t = initial_noise([0], generator.latent_shape).to(device())
    with FlopCounterMode(display=False) as of_a_step:
        predict(generator, x_t, torch.tensor([500]), conditions, settings)
    with FlopCounterMode(display=False) as of_decoding:
        decode(generator, x_t, 1)
    return float(of_a_step.get_total_flops() * settings.num_steps + of_decoding.get_total_flops())


def measure(options: argparse.Namespace, work: Path) -> None:
    settings = SamplingSettings(
        num_steps=options.steps,
        guidance=GUIDANCE,
        batch_size=options.batch_size,
        dtype="bfloat16",
        decoder_dtype="bfloat16",
        channels_last=True,
        compile=not options.tiny,
    )
    model = shape(tiny=options.tiny)
    model.save(work / "model")
    flop = flop_an_image(model, settings)
    del model  # its memory is not what is measured
    init_workspace(work / "workspace")
    with open_workspace(work / "workspace") as ws:
        ours = production(ws, settings, work / "model")
        stock = Stock(work / "model", options)
        for contestant in (ours, stock):
            for _ in range(3):  # compiles, then records its CUDA graphs
                contestant(2 * options.batch_size)
        rates: dict[str, list[float]] = {"curate": [], "diffusers": []}
        for _ in range(options.blocks):
            rates["curate"].append(options.images / timed(lambda: ours(options.images)))
            rates["diffusers"].append(options.images / timed(lambda: stock(options.images)))
    show(rates, flop, matrix_rate(256 if options.tiny else 8192))


def device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def show(rates: dict[str, list[float]], flop: float, peak: float) -> None:
    print(f"{device_name()}: {peak / 1e12:.3g} TFLOP/s in bfloat16 products")
    for name, values in rates.items():
        median = statistics.median(values)
        print(
            f"{name:<9} {median:7.2f} images/s ({min(values):.2f}-{max(values):.2f}), "
            f"{median * flop / peak:.0%} of the matrix rate"
        )
    ratios = [a / b for a, b in zip(rates["curate"], rates["diffusers"], strict=True)]
    print(f"curate / diffusers {statistics.median(ratios):.2f} (goal 1.3)")
    if torch.cuda.is_available():
        print(f"peak memory of both {torch.cuda.max_memory_reserved() / 1e9:.1f} GB")


def options_of(description: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help is a script's first lines, as they stand."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def measure_on_gpu(
    parser: argparse.ArgumentParser, measured: Callable[[argparse.Namespace, Path], None]
) -> None:
    """Read the options, and measure where there is a GPU; with --tiny anywhere."""
    parser.add_argument("--tiny", action="store_true", help="prove the script, on any machine")
    options = parser.parse_args()
    if not options.tiny and not torch.cuda.is_available():
        print("No NVIDIA GPU here: nothing was measured.")
        sys.exit(0)
    with tempfile.TemporaryDirectory() as folder:
        measured(options, Path(folder))


def main() -> None:
    """Read the options and measure, where there is a GPU."""
    parser = options_of(__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--blocks", type=int, default=5)
    measure_on_gpu(parser, measure)


if __name__ == "__main__":
    main()
