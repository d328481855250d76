"""Low-rank adapters on a generator's network (Hu et al. 2021): train, keep, merge into the weights.

An adapter's folder holds diffusers' own LoRA file, so a stock pipeline reads it too, with
`load_lora_weights(folder)`.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import recurse_remove_peft_layers
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from generators.base import Trainable
from generators.errors import GeneratorError

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
CONVOLUTIONS = ("conv1", "conv2", "conv_shortcut")  # of the residual blocks; small pixel U-Nets
TARGETS = {"attention": ATTENTION, "attention+convolutions": (*ATTENTION, *CONVOLUTIONS)}
WEIGHTS = "pytorch_lora_weights.safetensors"  # the name and the header that diffusers looks for
HEADER = "lora_adapter_metadata"


def add_lora(
    generator: Trainable,
    rank: int = 8,
    targets: Sequence[str] = ATTENTION,
    *,
    alpha: float | None = None,
) -> None:
    """Put trainable adapters, which change nothing yet, beside the frozen weights.

    `targets` are the ends of module names; `alpha` (the rank where not given) / rank scales what
    the adapters add. Their random half comes from torch's global generator.
    """
    config = LoraConfig(
        r=rank,
        lora_alpha=rank if alpha is None else alpha,  # type: ignore[arg-type]  # floats do
        target_modules=list(targets),
    )
    inject_adapter_in_model(config, generator.denoiser.network)


def begins_at_zero(name: str) -> bool:
    """Return whether a weight of this name is the half of an adapter that begins at zero."""
    return "lora_B" in name


def is_adapted(generator: Trainable) -> bool:
    """Return whether the generator has adapters beside its weights."""
    return hasattr(generator.denoiser.network, "peft_config")


def lora_state(generator: Trainable) -> dict[str, Tensor]:
    """Return the adapters' weights by name: the parameters themselves, not copies."""
    network = generator.denoiser.network
    named = dict(network.named_parameters())
    state: dict[str, Tensor] = get_peft_model_state_dict(network, named)
    whole = tuple(f"{name}." for name in generator.denoiser.whole)
    return state | {name: named[name] for name in named if name.startswith(whole)}


def save_lora(generator: Trainable, folder: Path) -> None:
    """Write the adapters' weights with rank, alpha and targets: equal weights give equal bytes."""
    part = generator.denoiser.part
    config: Any = generator.denoiser.network.peft_config["default"]  # as peft names it
    values = {
        f"{part}.r": config.r,
        f"{part}.lora_alpha": config.lora_alpha,
        f"{part}.target_modules": sorted(config.target_modules),
    }
    tensors = {
        f"{part}.{name}": tensor.detach().cpu().contiguous()
        for name, tensor in lora_state(generator).items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    # one entry in the header: safetensors writes several in random order
    save_file(tensors, folder / WEIGHTS, metadata={HEADER: json.dumps(values, sort_keys=True)})


def load_lora(generator: Trainable, folder: Path) -> None:
    """Attach the adapters that `save_lora` wrote, trainable."""
    path, part = folder / WEIGHTS, generator.denoiser.part
    try:
        with safe_open(path, framework="pt") as file:
            values = json.loads(file.metadata()[HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        add_lora(
            generator,
            values[f"{part}.r"],
            values[f"{part}.target_modules"],
            alpha=values[f"{part}.lora_alpha"],
        )
        state = {f"{part}.{name}": own for name, own in lora_state(generator).items()}
        if differing := set(tensors) ^ set(state):
            raise ValueError(f"{len(differing)} names differ, {min(differing)} among them")
        for name, tensor in state.items():
            if tensor.shape != tensors[name].shape:
                raise ValueError(f"{name} has another shape")
            tensor.detach().copy_(tensors[name])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise GeneratorError(
            f"{path} does not fit this generator, or is not an adapter that curate saved "
            f"({error}). Load it on the version that it was trained on."
        ) from error


def merge_lora(generator: Trainable, folder: Path) -> None:
    """Add the adapters in `folder` to the network's weights for good."""
    load_lora(generator, folder)
    for layer in _adapted_layers(generator):
        _merge(layer)
    recurse_remove_peft_layers(generator.denoiser.network)
    del generator.denoiser.network.peft_config
    generator.denoiser.requires_grad_(False)


@contextmanager
def disable_lora(generator: Trainable) -> Iterator[None]:
    """Inside, the generator predicts as if it had no adapters: the reference of a KL term."""
    layers = _adapted_layers(generator)
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


@torch.no_grad()
def _merge(layer: Any) -> None:
    """Add an adapter to its layer's weight.

    peft's own `merge` takes a 1 x 1 x 1 convolution for one of two dimensions, and fails.
    """
    base = layer.get_base_layer()
    if not isinstance(base, nn.Conv3d) or set(base.kernel_size) != {1}:
        layer.merge()
        return
    for name, scale in layer.scaling.items():
        first, second = layer.lora_A[name].weight, layer.lora_B[name].weight
        base.weight += scale * (second.flatten(1) @ first.flatten(1)).view_as(base.weight)


def _adapted_layers(generator: Trainable) -> list[BaseTunerLayer]:
    return [m for m in generator.denoiser.network.modules() if isinstance(m, BaseTunerLayer)]
