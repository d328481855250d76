"""One adapter a network's signature: what a diffusers network is handed of the conditions.

Nobody outside this file asks which diffusers class a network is.
"""

from collections.abc import Mapping
from typing import Any

from diffusers import (
    SD3Transformer2DModel,
    UNet2DConditionModel,
    UNet2DModel,
    UNet3DConditionModel,
)
from torch import Tensor

from generators.base import Denoiser
from generators.errors import GeneratorError


def denoiser_of(network: Any) -> Denoiser:
    """Return the adapter of a diffusers network; refuse one that no adapter knows."""
    if isinstance(network, SD3Transformer2DModel):
        return SD3Transformer(network)
    if isinstance(network, UNet2DConditionModel | UNet2DModel | UNet3DConditionModel):
        added = network.config.get("addition_embed_type")
        if added == "text_time":
            return SDXLUNet(network)
        if added in (None, "text"):  # "text" makes its own vector of the tokens
            return UNet(network)
        raise GeneratorError(
            f"The U-Net has addition_embed_type {added!r}; known are text and text_time."
        )
    raise GeneratorError(
        f"The network is a {type(network).__name__}. Known are U-Nets of two and three dimensions, "
        "SDXL's among them, and Stable Diffusion 3's transformer."
    )


class UNet(Denoiser):
    """A U-Net of pictures or volumes: tokens by cross-attention, modulation by class embedding."""

    def ask(self, x_t: Tensor, t_B: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
        """Return the network's prediction."""
        inputs: dict[str, Any] = self.added(parts)
        takes_tokens = isinstance(self.network, UNet2DConditionModel | UNet3DConditionModel)
        if "tokens" in parts or takes_tokens:
            inputs["encoder_hidden_states"] = parts.get("tokens")
        if "modulation" in parts:
            inputs["class_labels"] = parts["modulation"]
        prediction: Tensor = self.network(x_t, t_B, **inputs, return_dict=False)[0]
        return prediction

    def added(self, parts: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return what a U-Net of this kind is handed beside tokens and modulation."""
        return {}


class SDXLUNet(UNet):
    """Stable Diffusion XL's: the pooled text and the sizes beside the timestep."""

    needs = frozenset({"tokens", "pooled", "time_ids"})

    def added(self, parts: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the added conditions."""
        added = {"text_embeds": parts["pooled"], "time_ids": parts["time_ids"]}
        return {"added_cond_kwargs": added}


class SD3Transformer(Denoiser):
    """Stable Diffusion 3's: tokens beside the latents' patches, the pooled text as modulation."""

    part = "transformer"
    needs = frozenset({"tokens", "pooled"})

    def ask(self, x_t: Tensor, t_B: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
        """Return the network's prediction."""
        prediction: Tensor = self.network(
            hidden_states=x_t,
            timestep=t_B.to(x_t.device),
            encoder_hidden_states=parts["tokens"],
            pooled_projections=parts["pooled"],
            return_dict=False,
        )[0]
        return prediction
