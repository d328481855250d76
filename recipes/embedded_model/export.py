"""Turn a training folder into the diffusers folder that ships: averaged weights in half precision.

python -m recipes.embedded_model.export OUT_FOLDER WEIGHTS_FOLDER
"""

import argparse
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from torch import nn
from transformers import BertTokenizer

from generators.families.text_to_image import text_to_image
from recipes.embedded_model.text import NUM_TOKENS, new_text_encoder
from recipes.embedded_model.train_unet import new_scheduler, new_unet


def export(training: Path, weights: Path) -> None:
    """Write `weights`, a folder that the stock StableDiffusionPipeline opens."""
    state = torch.load(training / "unet_checkpoint.pt", weights_only=True)
    vocabulary = training / "tokenizer" / "vocab.txt"
    tokenizer = BertTokenizer(str(vocabulary), model_max_length=NUM_TOKENS)
    parts = nn.ModuleDict({"unet": new_unet(), "text_encoder": new_text_encoder(len(tokenizer))})
    parts.load_state_dict(state["parts"])
    with torch.no_grad():
        for name, parameter in parts.named_parameters():
            parameter.copy_(state["ema"][name])
    generator = text_to_image(
        tokenizer=tokenizer,
        # small, and transformers opens weights in the precision they are stored in, where
        # diffusers opens them in single: both must agree in the stock pipeline
        text_encoder=parts["text_encoder"].float(),
        unet=parts["unet"].half(),
        vae=AutoencoderTiny.from_pretrained(training / "vae").half(),
        scheduler_config=dict(new_scheduler().config),
    )
    generator.save(weights)
    print(f"step {state['step']}, {state['spent'] / 60:.0f} min -> {weights}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("training", type=Path)
    parser.add_argument("weights", type=Path)
    arguments = parser.parse_args()
    export(arguments.training, arguments.weights)
