"""Train the embedded text encoder and U-Net on the autoencoder's latents.

    python -m recipes.embedded_model.train_unet DATA_FOLDER OUT_FOLDER --minutes 90

OUT_FOLDER already holds `vae/` from train_autoencoder. Modality and description are dropped
independently, so that each part can be asked for alone and guidance has its unconditional side.
v prediction (Salimans & Ho 2022) with min-SNR weights (Hang et al. 2023). Killed and started again
it goes on from its checkpoint.
"""

import argparse
import math
import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
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
DROP_TEXT, DROP_MODALITY, DROP_BOTH = 0.08, 0.08, 0.05
JOINT_SHARE = 0.15  # of batches that read "OCT: drusen" in one piece, as the stock pipeline does
AUGMENTED_COPIES = 12  # of each image, encoded once
EMA_DECAY = 0.999


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
        """Return each image's weight: rare modalities and findings get more than their share."""
        modality = Counter(image.modality for image in self.images)
        finding = Counter((image.modality, image.label) for image in self.images)
        return torch.tensor(
            [
                modality[i.modality] ** -0.5
                * (finding[i.modality, i.label] / modality[i.modality]) ** -0.3
                for i in self.images
            ]
        )


@torch.no_grad()
def encode_copies(vae: AutoencoderKL, images: list[RealImage], cache: Path) -> Latents:
    """Encode augmented copies of every image once; kept in `cache` for a resumed run."""
    if cache.exists():
        return Latents(images, torch.load(cache, weights_only=True))
    generator = torch.Generator().manual_seed(1)
    copies = []
    for copy in range(AUGMENTED_COPIES):
        parts = [
            vae.encode(augmented_batch(images[start : start + 32], generator)).latent_dist.mean
            for start in range(0, len(images), 32)
        ]
        copies.append(torch.cat(parts))
        print(f"encoded copy {copy + 1} of {AUGMENTED_COPIES}", flush=True)
    values_NKCHW = torch.stack(copies, dim=1)
    torch.save(values_NKCHW, cache)
    return Latents(images, values_NKCHW)


def prompt_of(image: RealImage, rng: random.Random) -> Prompt:
    """Return one way to ask for this image; parts are dropped at random."""
    phrases = PHRASES[image.label]
    text = rng.choice(phrases) if rng.random() < 0.6 else without_modality_words(image.caption)
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

    def __init__(self, latents: Latents, conditioner: TextConditioner, lr: float) -> None:
        """Set up fresh weights; `conditioner` holds the untrained text encoder."""
        self.latents, self.conditioner, self.lr = latents, conditioner, lr
        self.unet = new_unet()
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
        tokens_BLD = self.encode(prompts, joint=self.rng.random() < JOINT_SHARE)
        predicted = self.unet(x_t, t_B, tokens_BLD).sample
        snr_B = (alpha_B111 / sigma_B111).square().flatten()
        weight_B = snr_B.clamp(max=MIN_SNR_GAMMA) / (snr_B + 1)  # of a v-prediction error
        loss: Tensor = (weight_B * (predicted - target).square().flatten(1).mean(dim=1)).mean()
        return loss

    def update(self, size: int, lr: float) -> float:
        """Take one optimiser step; return the loss."""
        self.optimiser.param_groups[0]["lr"] = lr
        loss = self.loss(size)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parts.parameters(), 1.0)
        self.optimiser.step()
        decay = min(EMA_DECAY, (1 + self.step) / (20 + self.step))
        with torch.no_grad():
            for name, p in self.parts.named_parameters():
                self.ema[name].lerp_(p, 1 - decay)
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


def main() -> None:
    """Train for a number of minutes, checkpointing on the way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=8e-4)
    options = parser.parse_args()
    torch.manual_seed(0)

    train = load_real_images(options.data, split="train")
    vae = AutoencoderKL.from_pretrained(options.out / "vae").eval()
    latents = encode_copies(vae, train, options.out / "latents.pt")
    tokenizer = train_tokenizer(train, options.out / "tokenizer")
    conditioner = TextConditioner(tokenizer, new_text_encoder(len(tokenizer)))
    training = Training(latents, conditioner, options.lr)
    checkpoint = options.out / "unet_checkpoint.pt"
    if checkpoint.exists():
        training.load(checkpoint)
        print(f"resumed at step {training.step}, {training.spent / 60:.1f} min")

    budget, last_save, losses = options.minutes * 60, training.spent, []
    while training.spent < budget:
        started = time.monotonic()
        cosine = 0.5 + 0.5 * math.cos(math.pi * training.spent / budget)  # the budget is time
        losses.append(
            training.update(
                options.batch, options.lr * min(1, (training.step + 1) / 200) * max(cosine, 0.02)
            )
        )
        training.spent += time.monotonic() - started
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
