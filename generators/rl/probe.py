"""How much of an update memory holds at once, found before the first update.

Two things: the micro-batch, and how many images' rollouts may keep their autograd graphs. On policy
the training pass would compute the very same predictions again; where their graphs fit, training
begins with the backward pass. The checkpoint keeps both, so that a resumed run goes on to the bit,
and a file remembers them by (settings, model, device, shape).
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from generators.base import Conditions
from generators.diffusion.guidance import predict
from generators.diffusion.samplers import initial_noise
from generators.rl.config import RLConfig
from generators.rl.policy import FASTEST_ON_CPU, MemoryFit, Policy, training_settings

MOST_ON_GPU = 1024  # pairs
SHARE = 0.8  # of a GPU's free memory: the rest is for fragments and the reward
GIB = 2**30


@dataclass(frozen=True)
class Fits:
    """What was found before, in a JSON file, and how to write it so that a kill leaves it whole."""

    path: Path
    write: Callable[[Path, bytes], object]

    def read(self) -> dict[str, dict[str, int]]:
        """Return {key of what decides: fields of a fit}."""
        found: dict[str, dict[str, int]] = (
            json.loads(self.path.read_bytes()) if self.path.exists() else {}
        )
        return found


def found_fit(
    policy: Policy, conditions: Conditions, num_images: int, remembered: Fits | None = None
) -> MemoryFit:
    """Return the fit for updates of `num_images` in this process; `conditions` are of any image.

    On a CPU it is worked out from `memory_gib`, so that equal settings give equal results; on a GPU
    it is tried. What is `remembered` is not tried again.
    """
    config, device = policy.config, policy.generator.device
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    parameters = policy.generator.denoiser.named_parameters()
    model = [[name, list(weight.shape)] for name, weight in parameters]
    latent_shape = list(policy.generator.latent_shape)
    decides = [config.to_json(), latent_shape, machine, num_images, model]
    named = json.dumps(decides, sort_keys=True, separators=(",", ":"))
    key = hashlib.sha256(named.encode()).hexdigest()
    known = remembered.read() if remembered else {}
    if key in known:
        return MemoryFit(**known[key])
    pair = bytes_of_pair(policy, conditions)
    if device.type == "cuda":
        memory = int(SHARE * torch.cuda.mem_get_info(device)[0])
        pairs = num_images * config.examples_per_image
        most = min(config.micro_batch or MOST_ON_GPU, 2 ** math.ceil(math.log2(pairs)))
        micro_batch = largest(lambda size: _is_possible(policy, conditions, size, memory), most)
    else:
        memory = int(config.memory_gib * GIB)
        micro_batch = min(config.micro_batch or FASTEST_ON_CPU, max(memory // pair, 1))
    fit = MemoryFit(
        micro_batch, _images_to_keep(config, num_images, pair, memory - micro_batch * pair)
    )
    if remembered:
        told = json.dumps({**known, key: asdict(fit)}, indent=2) + "\n"
        remembered.write(remembered.path, told.encode())
    return fit


def largest(is_possible: Callable[[int], bool], most: int) -> int:
    """Return the largest power of two up to `most` that is possible, 1 at least; tried upwards."""
    size = 1
    while 2 * size <= most and is_possible(2 * size):
        size *= 2
    return size


def bytes_of_pair(policy: Policy, conditions: Conditions) -> int:
    """Return what the forward pass of one (image, step) pair keeps for its backward pass."""
    own = {weight.untyped_storage().data_ptr() for weight in policy.generator.denoiser.parameters()}
    seen: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        prediction = _predicted(policy, conditions, 1)
    return sum(seen.values()) + prediction.untyped_storage().nbytes()


def _images_to_keep(config: RLConfig, num_images: int, pair: int, memory: int) -> int:
    """Return how many of the images; none where the training pass is not the rollout's again."""
    same_pass = (
        config.algorithm in ("window", "ddpo")
        and config.minibatches == 1
        and config.rollout_dtype == config.training_dtype
    )
    if not same_pass:
        return 0
    batch = config.rollout_batch
    batches = max(memory, 0) // (pair * batch * config.num_trained_steps)
    return min(int(batches) * batch, num_images)


def _is_possible(policy: Policy, conditions: Conditions, size: int, memory: int) -> bool:
    """Try a forward and a backward pass."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    try:
        _predicted(policy, conditions, size).sum().backward()
    except torch.OutOfMemoryError:
        return False
    finally:
        policy.weights.forget_gradient()
    return torch.cuda.max_memory_allocated() - before <= memory


def _predicted(policy: Policy, conditions: Conditions, size: int) -> Tensor:
    generator, config = policy.generator, policy.config
    x_t = initial_noise(range(size), generator.latent_shape).to(generator.device)
    t_B = torch.full((size,), generator.process.num_train_steps // 2)
    rows = conditions.select([0] * size).to(generator.device)
    settings = training_settings(config, config.training_guidance)
    with torch.enable_grad():
        return predict(generator, x_t, t_B, rows, settings)
