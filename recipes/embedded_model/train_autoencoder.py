"""Tune a tiny autoencoder for medical images: 128 x 128 pixels to 16 x 16 x 4 latents and back.

    python -m recipes.embedded_model.train_autoencoder DATA TAESD OUT --minutes 45

It starts from TAESD (MIT licence, https://github.com/madebyollin/taesd). The encoder is kept, only
its latents are standardised; the decoder is tuned with L1, L1 of Laplacian pyramids, the local
energy of their bands, and a patch discriminator (Isola et al. 2017) that trains beside it: hinge
loss and matched features. No network trained elsewhere enters the loss. Killed and started again it
goes on from its checkpoint.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from recipes.embedded_model.data import augmented_batch, central_square, load_real_images

LAPLACIAN_WEIGHT, TEXTURE_WEIGHT, FEATURE_WEIGHT, ADVERSARIAL_WEIGHT = 1.0, 3.0, 1.0, 0.04
ADVERSARIAL_START = 200  # steps: before that the discriminator only learns
CHECKPOINT_SECONDS = 120


def taesd(folder: Path) -> AutoencoderTiny:
    """Open TAESD's two files; its own names differ from diffusers' by a prefix and a number."""
    model = AutoencoderTiny()
    state = {
        f"encoder.layers.{name}": value
        for name, value in load_file(folder / "taesd_encoder.safetensors").items()
    }
    for name, value in load_file(folder / "taesd_decoder.safetensors").items():
        number, rest = name.split(".", 1)
        state[f"decoder.layers.{int(number) - 1}.{rest}"] = value
    model.load_state_dict({name: value.float() for name, value in state.items()})
    return model


@torch.no_grad()
def standardise_latents(model: AutoencoderTiny, images_BCHW: Tensor) -> None:
    """Give every latent channel mean 0 and deviation 1 on these images.

    Folded into the convolutions next to the latents, so that a stock pipeline, which knows one
    scaling factor and no shift, sees well-scaled latents. The decoder's soft clamp of +-3 then acts
    on standardised values; tuning makes up for it.
    """
    before_BCHW = encoded(model, images_BCHW)
    mean_C, std_C = before_BCHW.mean(dim=(0, 2, 3)), before_BCHW.std(dim=(0, 2, 3))
    last, first = model.encoder.layers[-1], model.decoder.layers[0]
    last.weight /= std_C[:, None, None, None]
    last.bias.copy_((last.bias - mean_C) / std_C)
    first.bias += first.weight.sum(dim=(2, 3)) @ mean_C
    first.weight *= std_C[None, :, None, None]


@torch.no_grad()
def encoded(model: AutoencoderTiny, images_BCHW: Tensor) -> Tensor:
    """Return latents [B, 4, H/8, W/8] of images in [-1, 1]."""
    return torch.cat([model.encode(part).latents for part in images_BCHW.split(16)])


def new_discriminator() -> nn.ModuleList:
    """Return a patch discriminator: each layer's features are compared, the last one judges."""
    widths = (3, 32, 64, 128)
    layers: list[nn.Module] = [
        nn.Sequential(
            nn.utils.parametrizations.spectral_norm(nn.Conv2d(a, b, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
        )
        for a, b in zip(widths, widths[1:], strict=False)
    ]
    layers.append(nn.utils.parametrizations.spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1)))
    return nn.ModuleList(layers)


def layers_of(discriminator: nn.ModuleList, images_BCHW: Tensor) -> list[Tensor]:
    """Return every layer's output; the last is the verdict, [B, 1, H/8, W/8]."""
    outputs = [images_BCHW]
    for layer in discriminator:
        outputs.append(layer(outputs[-1]))
    return outputs[1:]


def laplacian_bands(images_BCHW: Tensor, levels: int = 3) -> list[Tensor]:
    """Return the Laplacian pyramid's bands, the finest first, without the coarsest rest."""
    bands, rest = [], images_BCHW
    for _ in range(levels):
        smaller = functional.avg_pool2d(rest, 2)
        bands.append(
            rest
            - functional.interpolate(smaller, scale_factor=2, mode="bilinear", align_corners=False)
        )
        rest = smaller
    return bands


def laplacian_distance(a_BCHW: Tensor, b_BCHW: Tensor) -> Tensor:
    """Return the L1 distance of Laplacian pyramids (Bojanowski et al. 2018)."""
    bands = laplacian_bands(a_BCHW - b_BCHW)  # the pyramid is linear
    return torch.stack([band.abs().mean() for band in bands]).sum()


def texture_distance(a_BCHW: Tensor, b_BCHW: Tensor) -> Tensor:
    """Return how far apart the local energies of the two finest bands are.

    What cannot be told from the latents, grain above all, is blurred by L1; here it costs nothing
    to draw it elsewhere, but to leave it out.
    """
    parts = []
    for a, b in zip(laplacian_bands(a_BCHW, 2), laplacian_bands(b_BCHW, 2), strict=True):
        a_energy, b_energy = (functional.avg_pool2d(band.square(), 8) for band in (a, b))
        parts.append(((a_energy + 1e-5).sqrt() - (b_energy + 1e-5).sqrt()).abs().mean())
    return torch.stack(parts).sum()


class Tuning:
    """Decoder, discriminator and their optimisers: all that a checkpoint holds."""

    def __init__(self, model: AutoencoderTiny, lr: float) -> None:
        """Take a standardised model; its encoder stays as it is."""
        self.model, self.lr = model, lr
        model.requires_grad_(False)
        model.decoder.requires_grad_(True)
        self.discriminator = new_discriminator()
        self.decode: Callable[[Tensor], Tensor] = torch.compile(model.decoder)
        self.encode: Callable[[Tensor], Tensor] = torch.compile(model.encoder)
        self.average = {n: p.detach().clone() for n, p in model.decoder.named_parameters()}
        self.optimiser = torch.optim.AdamW(
            model.decoder.parameters(), lr=lr, betas=(0.5, 0.99), weight_decay=0.0
        )
        self.critic = torch.optim.AdamW(
            self.discriminator.parameters(), lr=4e-4, betas=(0.5, 0.99), weight_decay=0.0
        )
        self.generator = torch.Generator().manual_seed(0)
        self.step, self.spent = 0, 0.0

    def update(self, images_BCHW: Tensor, lr: float) -> dict[str, float]:
        """Take one step of both networks; return the parts of the loss."""
        self.optimiser.param_groups[0]["lr"] = lr
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with torch.no_grad():
                latents = self.encode(images_BCHW)
            decoded_BCHW = self.decode(latents).float()
            fake = [f.float() for f in layers_of(self.discriminator, decoded_BCHW)]
            with torch.no_grad():
                real = [f.float() for f in layers_of(self.discriminator, images_BCHW)]
        parts = {
            "l1": (decoded_BCHW - images_BCHW).abs().mean(),
            "laplacian": laplacian_distance(decoded_BCHW, images_BCHW),
            "texture": texture_distance(decoded_BCHW, images_BCHW),
            "features": torch.stack(
                [
                    (f - r).abs().mean() / r.abs().mean().clamp(min=1e-3)
                    for f, r in zip(fake[:-1], real[:-1], strict=True)
                ]
            ).mean(),
            "adversarial": -fake[-1].mean(),
        }
        adversarial = ADVERSARIAL_WEIGHT if self.step >= ADVERSARIAL_START else 0.0
        features = FEATURE_WEIGHT * min(1.0, self.step / ADVERSARIAL_START)
        loss = (
            parts["l1"]
            + LAPLACIAN_WEIGHT * parts["laplacian"]
            + TEXTURE_WEIGHT * parts["texture"]
            + 0.1 * features * parts["features"]
            + adversarial * parts["adversarial"]
        )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.decoder.parameters(), 1.0)
        self.optimiser.step()

        with torch.autocast("cpu", dtype=torch.bfloat16):
            on_real = layers_of(self.discriminator, images_BCHW)[-1].float()
            on_fake = layers_of(self.discriminator, decoded_BCHW.detach())[-1].float()
        critic_loss = functional.relu(1 - on_real).mean() + functional.relu(1 + on_fake).mean()
        self.critic.zero_grad(set_to_none=True)
        critic_loss.backward()
        self.critic.step()
        with torch.no_grad():
            decay = min(0.995, (1 + self.step) / (20 + self.step))
            for name, p in self.model.decoder.named_parameters():
                self.average[name].lerp_(p, 1 - decay)
        self.step += 1
        return {name: float(value) for name, value in parts.items()} | {
            "critic": float(critic_loss)
        }

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average,
            "discriminator": self.discriminator.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "critic": self.critic.state_dict(),
            "generator": self.generator.get_state(),
            "step": self.step,
            "spent": self.spent,
        }
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(path, weights_only=True)
        for name in ("model", "discriminator", "optimiser", "critic"):
            getattr(self, name).load_state_dict(state[name])
        self.average = state["average"]
        self.generator.set_state(state["generator"])
        self.step, self.spent = state["step"], state["spent"]


def main() -> None:
    """Tune for minutes of processor time, then save a diffusers folder and its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("taesd", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=3e-4)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)

    options.out.mkdir(parents=True, exist_ok=True)
    train = load_real_images(options.data, split="train")
    model = taesd(options.taesd)
    standardise_latents(model, torch.stack([central_square(image) for image in train[::8]]))
    tuning = Tuning(model, options.lr)
    checkpoint = options.out / "autoencoder_checkpoint.pt"
    if checkpoint.exists():
        tuning.load(checkpoint)
        print(f"resumed at step {tuning.step}, {tuning.spent / 60:.1f} min", flush=True)
    else:  # the encoder is final: the U-Net's training may begin beside this one
        save_autoencoder(model, options.out / "vae")

    budget, last_save = options.minutes * 60, tuning.spent
    while tuning.spent < budget:
        started = time.process_time()
        cosine = 0.5 + 0.5 * math.cos(math.pi * tuning.spent / budget)  # the budget is time
        chosen = torch.randint(len(train), (options.batch,), generator=tuning.generator)
        images_BCHW = augmented_batch([train[i] for i in chosen.tolist()], tuning.generator)
        lr = options.lr * min(1, (tuning.step + 1) / 50) * max(cosine, 0.02)
        parts = tuning.update(images_BCHW, lr)
        tuning.spent += time.process_time() - started
        if tuning.step % 25 == 0:
            said = " ".join(f"{name} {value:.4f}" for name, value in parts.items())
            print(f"step {tuning.step} {tuning.spent / 60:.1f} min {said}", flush=True)
        if tuning.spent - last_save > CHECKPOINT_SECONDS:
            tuning.save(checkpoint)
            last_save = tuning.spent
    tuning.save(checkpoint)
    with torch.no_grad():
        for name, parameter in model.decoder.named_parameters():
            parameter.copy_(tuning.average[name])
    save_autoencoder(model, options.out / "vae")
    figures = {"steps": tuning.step, "minutes": tuning.spent / 60}
    (options.out / "autoencoder.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(figures)


def save_autoencoder(model: AutoencoderTiny, folder: Path) -> None:
    """Save the diffusers folder."""
    model.register_to_config(scaling_factor=1.0)
    model.save_pretrained(folder, safe_serialization=True)


if __name__ == "__main__":
    main()
