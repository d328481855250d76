"""Train the embedded text encoder and U-Net on the autoencoder's latents.

    python -m recipes.embedded_model.train_unet DATA_FOLDER OUT_FOLDER --minutes 90

OUT_FOLDER already holds `vae/` from train_autoencoder, whose encoder never changes. Modality and
description are dropped independently, so that each part can be asked for alone and guidance has its
unconditional side. v prediction (Salimans & Ho 2022) with min-SNR weights (Hang et al. 2023). The
last part of the time distils guidance into the weights (Meng et al. 2023, at one scale): what is
asked with words learns the averaged network's guided answer. Killed and started again it goes on
from its checkpoint.
"""

import argparse
import copy
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from generators.base import Prompt
from generators.families.text_to_image import TextConditioner
from recipes.embedded_model.data import (
    PHRASES,
    RealImage,
    augmented_batch,
    load_real_images,
    without_modality_words,
)
from recipes.embedded_model.text import NUM_TOKENS, WIDTH, new_text_encoder, train_tokenizer

MIN_SNR_GAMMA = 5.0
CHECKPOINT_SECONDS = 120
DROP_TEXT, DROP_MODALITY, DROP_BOTH = 0.04, 0.05, 0.06
JOINT_SHARE = 0.15  # of batches that read "OCT: drusen" in one piece, as the stock pipeline does
AUGMENTED_COPIES = 6  # of each image, encoded at the start ...
REFRESHED, REFRESH_EVERY = 16, 6  # ... and so many replaced by new ones every so many steps
EMA_DECAY, DISTILLED_EMA_DECAY = 0.999, 0.995  # few steps distil: the average may not lag
DISTILLED_FROM = 0.8  # share of the time after which guidance is distilled
GUIDANCE = 2.0  # of the answers that are distilled


def new_unet() -> UNet2DConditionModel:
    """Return an untrained U-Net of the embedded shape (10 M weights, 16 x 16 x 4 latents)."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 128, 224),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=32,
        norm_num_groups=16,
        # the text also shifts and scales every block: by cross-attention alone a finding was
        # hardly heard
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        resnet_time_scale_shift="scale_shift",
    )


def new_scheduler() -> DDIMScheduler:
    """Return the linear schedule that the model is trained and sampled with."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="trailing",
    )


@dataclass
class Latents:
    """Encoded augmented copies: float32 [N, K, 4, 16, 16] of N images."""

    images: list[RealImage]
    values_NKCHW: Tensor

    def weights(self) -> Tensor:
        """Return each image's weight: findings of a modality are drawn nearly evenly."""
        modality = Counter(image.modality for image in self.images)
        finding = Counter((image.modality, image.label) for image in self.images)
        evenness = {
            name: sum(count**0.25 for (other, _), count in finding.items() if other == name)
            for name in modality
        }
        return torch.tensor(
            [
                modality[i.modality] ** 0.25
                * finding[i.modality, i.label] ** -0.75
                / evenness[i.modality]
                for i in self.images
            ]
        )

    def refresh(self, encode: Callable[[Tensor], Tensor], generator: torch.Generator) -> None:
        """Replace a few copies by newly augmented ones, so that none is seen often."""
        chosen = torch.randint(len(self.images), (REFRESHED,), generator=generator)
        copy = torch.randint(AUGMENTED_COPIES, (REFRESHED,), generator=generator)
        pixels = augmented_batch([self.images[i] for i in chosen.tolist()], generator)
        self.values_NKCHW[chosen, copy] = encode(pixels)


def encoder_of(vae: AutoencoderTiny) -> Callable[[Tensor], Tensor]:
    """Return what turns a batch of images in [-1, 1] into latents, compiled, in bfloat16."""
    compiled: Callable[[Tensor], Tensor] = torch.compile(vae.encoder)

    def encode(images_BCHW: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            return compiled(images_BCHW).float()

    return encode


def encode_copies(
    encode: Callable[[Tensor], Tensor], images: list[RealImage], cache: Path
) -> Latents:
    """Encode augmented copies of every image once; kept in `cache` for a resumed run."""
    if cache.exists():
        return Latents(images, torch.load(cache, weights_only=True))
    generator = torch.Generator().manual_seed(1)
    copies = []
    for turn in range(AUGMENTED_COPIES):
        parts = []
        for start in range(0, len(images), REFRESHED):
            batch = images[start : start + REFRESHED]
            whole = batch + batch[:1] * (REFRESHED - len(batch))  # one shape: compiled once
            parts.append(encode(augmented_batch(whole, generator))[: len(batch)])
        copies.append(torch.cat(parts))
        print(f"encoded copy {turn + 1} of {AUGMENTED_COPIES}", flush=True)
    values_NKCHW = torch.stack(copies, dim=1)
    torch.save(values_NKCHW, cache)
    return Latents(images, values_NKCHW)


def prompt_of(image: RealImage, rng: random.Random) -> Prompt:
    """Return one way to ask for this image; parts are dropped at random."""
    phrases = PHRASES[image.label]
    text = rng.choice(phrases) if rng.random() < 0.75 else without_modality_words(image.caption)
    modality = image.modality
    draw = rng.random()
    if draw < DROP_BOTH:
        return Prompt("", "")
    if draw < DROP_BOTH + DROP_TEXT:
        return Prompt(modality, "")
    if draw < DROP_BOTH + DROP_TEXT + DROP_MODALITY:
        return Prompt("", text)
    return Prompt(modality, text)


class Training:
    """The networks, their averages and the random states: all that a checkpoint holds."""

    def __init__(
        self,
        latents: Latents,
        encode_pixels: Callable[[Tensor], Tensor],
        conditioner: TextConditioner,
        lr: float,
    ) -> None:
        """Set up fresh weights; `conditioner` holds the untrained text encoder."""
        self.latents, self.conditioner, self.lr = latents, conditioner, lr
        self.encode_pixels = encode_pixels
        self.unet = new_unet()
        self.unet.set_attn_processor(AttnProcessor())  # fused attention is slow in bfloat16 here
        self.predict: Any = torch.compile(self.unet)
        self.teacher: Any = None  # of the distillation
        self.parts = nn.ModuleDict({"unet": self.unet, "text_encoder": conditioner.text_encoder})
        self.parts.requires_grad_(True)
        self.ema = {name: p.detach().clone() for name, p in self.parts.named_parameters()}
        self.optimiser = torch.optim.AdamW(
            self.parts.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=0.01
        )
        self.alphas_T = new_scheduler().alphas_cumprod
        self.generator = torch.Generator().manual_seed(2)
        self.rng = random.Random(2)
        self.weights_N = latents.weights()
        self.step, self.spent = 0, 0.0

    def batch(self, size: int) -> tuple[Tensor, list[Prompt]]:
        """Return latents [B, 4, 16, 16] and one prompt each."""
        chosen = torch.multinomial(self.weights_N, size, replacement=True, generator=self.generator)
        copy = torch.randint(AUGMENTED_COPIES, (size,), generator=self.generator)
        prompts = [prompt_of(self.latents.images[i], self.rng) for i in chosen.tolist()]
        return self.latents.values_NKCHW[chosen, copy], prompts

    def encode(self, prompts: list[Prompt], *, joint: bool) -> Tensor:
        """Return tokens [B, L, D] with gradients: as the conditioner does it, or in one piece."""
        if joint:
            texts = [f"{p.modality}: {p.text}" if p.modality or p.text else "" for p in prompts]
            return self._embed(texts, NUM_TOKENS)
        modality_BLD = self._embed([p.modality for p in prompts], self.conditioner.modality_length)
        text_BLD = self._embed([p.text for p in prompts], self.conditioner.text_length)
        return torch.cat([modality_BLD, text_BLD], dim=1)

    def _embed(self, texts: list[str], length: int) -> Tensor:
        inputs = self.conditioner.tokenizer(
            texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        encoder = self.conditioner.text_encoder
        hidden: Tensor = encoder(inputs.input_ids, inputs.attention_mask).last_hidden_state
        return hidden

    def loss(self, size: int) -> Tensor:
        """Return the weighted v-prediction error of one batch."""
        x0_BCHW, prompts = self.batch(size)
        t_B = torch.randint(len(self.alphas_T), (size,), generator=self.generator)
        noise_BCHW = torch.randn(x0_BCHW.shape, generator=self.generator)
        alpha_B111 = self.alphas_T[t_B].sqrt()[:, None, None, None]
        sigma_B111 = (1 - self.alphas_T[t_B]).sqrt()[:, None, None, None]
        x_t = alpha_B111 * x0_BCHW + sigma_B111 * noise_BCHW
        target = alpha_B111 * noise_BCHW - sigma_B111 * x0_BCHW
        joint = self.rng.random() < JOINT_SHARE
        if self.teacher is not None:
            target = self.guided(x_t, t_B, prompts, joint=joint)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            tokens_BLD = self.encode(prompts, joint=joint)
            predicted = self.predict(x_t, t_B, tokens_BLD).sample.float()
        snr_B = (alpha_B111 / sigma_B111).square().flatten()
        weight_B = snr_B.clamp(max=MIN_SNR_GAMMA) / (snr_B + 1)  # of a v-prediction error
        loss: Tensor = (weight_B * (predicted - target).square().flatten(1).mean(dim=1)).mean()
        return loss

    @torch.no_grad()
    def guided(self, x_t: Tensor, t_B: Tensor, prompts: list[Prompt], *, joint: bool) -> Tensor:
        """Return the teacher's answer: guided where words ask for something, else its own."""
        assert self.teacher is not None
        asked_B = torch.tensor([bool(p.modality or p.text) for p in prompts])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            own = self.teacher(x_t, t_B, self.encode(prompts, joint=joint)).sample.float()
            blank_BLD = self.encode([Prompt("", "")] * len(prompts), joint=joint)
            blank = self.teacher(x_t, t_B, blank_BLD).sample.float()
        scale_B111 = torch.where(asked_B, GUIDANCE, 1.0)[:, None, None, None]
        answer: Tensor = blank + scale_B111 * (own - blank)
        return answer

    def distil(self) -> None:
        """Begin to distil: the averages become the weights, a frozen copy of them the teacher."""
        with torch.no_grad():
            for name, p in self.parts.named_parameters():
                p.copy_(self.ema[name])
        self.conditioner.text_encoder.requires_grad_(False)
        teacher = copy.deepcopy(self.unet).requires_grad_(False)
        self.teacher = torch.compile(teacher)

    def update(self, size: int, lr: float) -> float:
        """Take one optimiser step; return the loss."""
        self.optimiser.param_groups[0]["lr"] = lr
        loss = self.loss(size)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parts.parameters(), 1.0)
        self.optimiser.step()
        most = EMA_DECAY if self.teacher is None else DISTILLED_EMA_DECAY
        decay = min(most, (1 + self.step) / (20 + self.step))
        with torch.no_grad():
            for name, p in self.parts.named_parameters():
                self.ema[name].lerp_(p, 1 - decay)
        if self.step % REFRESH_EVERY == 0:
            self.latents.refresh(self.encode_pixels, self.generator)
        self.step += 1
        return loss.item()

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        state = {
            "parts": self.parts.state_dict(),
            "ema": self.ema,
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "rng": self.rng.getstate(),
            "step": self.step,
            "spent": self.spent,
            "teacher": None if self.teacher is None else self.teacher.state_dict(),
        }
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(path, weights_only=True)
        self.parts.load_state_dict(state["parts"])
        self.ema = state["ema"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])
        version, internal, gauss = state["rng"]
        self.rng.setstate((version, tuple(internal), gauss))
        self.step, self.spent = state["step"], state["spent"]
        if state["teacher"] is not None:
            self.distil()
            self.parts.load_state_dict(state["parts"])
            assert self.teacher is not None
            self.teacher.load_state_dict(state["teacher"])


def share_of_rate(progress: float) -> float:
    """Return the share of the learning rate: a cosine while it learns, a line while it distils."""
    if progress > DISTILLED_FROM:
        return max(0.25 * (1 - progress) / (1 - DISTILLED_FROM), 0.01)
    return max(0.5 + 0.5 * math.cos(math.pi * progress / DISTILLED_FROM), 0.02)


def main() -> None:
    """Train for a number of minutes of processor time, checkpointing on the way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=8e-4)
    options = parser.parse_args()
    torch.manual_seed(0)

    train = load_real_images(options.data, split="train")
    torch.set_num_threads(1)
    encode = encoder_of(AutoencoderTiny.from_pretrained(options.out / "vae").eval())
    latents = encode_copies(encode, train, options.out / "latents.pt")
    tokenizer = train_tokenizer(train, options.out / "tokenizer")
    conditioner = TextConditioner(tokenizer, new_text_encoder(len(tokenizer)))
    training = Training(latents, encode, conditioner, options.lr)
    checkpoint = options.out / "unet_checkpoint.pt"
    if checkpoint.exists():
        training.load(checkpoint)
        print(f"resumed at step {training.step}, {training.spent / 60:.1f} min")

    budget, last_save, losses = options.minutes * 60, training.spent, []
    while training.spent < budget:
        started = time.process_time()
        if training.teacher is None and training.spent > DISTILLED_FROM * budget:
            training.save(options.out / "unet_before_distilling.pt")
            training.distil()
        lr = options.lr * min(1, (training.step + 1) / 200) * share_of_rate(training.spent / budget)
        losses.append(training.update(options.batch, lr))
        training.spent += time.process_time() - started
        if training.step % 100 == 0:
            mean = sum(losses) / len(losses)
            print(f"step {training.step} {training.spent / 60:.1f} min loss {mean:.4f}", flush=True)
            losses = []
        if training.spent - last_save > CHECKPOINT_SECONDS:
            training.save(checkpoint)
            last_save = training.spent
    training.save(checkpoint)


if __name__ == "__main__":
    main()
