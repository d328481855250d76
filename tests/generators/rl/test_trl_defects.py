"""Nine defects of TRL 0.23.1's DDPOTrainer: each as a test of ours, with what TRL does beside it.

TRL runs with its own pipeline, adapters and scheduler; only the prompts' embeddings are ours, since
the tiny generator has no CLIP. Where a future TRL mended one, its half would fail and go.
"""

import math
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from generators.base import Prompt
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from generators.diffusion.process import VariancePreserving
from generators.diffusion.rollout import rollout
from generators.rl.algorithms.base import Reward
from generators.rl.config import RLConfig
from generators.rl.policy import Policy
from generators.rl.progress import load_progress
from generators.rl.training import Conduct, Rollouts, train
from tests.tiny import SCHEDULE
from tests.tiny import tiny_generator as make_tiny_generator

trl = pytest.importorskip("trl", reason="the extra trl is not installed")
pytestmark = [
    pytest.mark.apart,
    pytest.mark.filterwarnings("ignore"),  # TRL and its pipelines warn of themselves
]

Small = Callable[..., RLConfig]
Trainer = Callable[..., Any]


def ignore(health: object) -> None:
    """Report to nobody."""


def reward_of_numbers(images: Tensor, numbers: Sequence[str], _: object) -> tuple[Tensor, Any]:
    return images.float().mean(dim=(1, 2, 3)), {}


def stock_pipeline(folder: Path, prompts: list[Prompt]) -> Any:
    from generators.rl.peers.trl_ddpo import Embeddings, Numbers

    generator = make_tiny_generator()
    if not (folder / "start").exists():  # transformers writes on the first process only
        generator.save(folder / "start")
    tokens = generator.conditioner([*prompts, Prompt("", "")]).parts["tokens"]
    assert tokens is not None

    base: Any = trl.DefaultDDPOStableDiffusionPipeline
    embeddings = Embeddings(tokens)

    class Stock(base):  # type: ignore[misc]
        tokenizer = Numbers(len(prompts))
        text_encoder = embeddings

    pipeline = Stock(str(folder / "start"), use_lora=True)
    pipeline.sd_pipeline.text_encoder = None  # the embeddings' precision is the U-Net's
    pipeline.set_progress_bar_config(disable=True)
    pipeline.set_progress_bar_config = lambda **options: None
    return pipeline


@pytest.fixture
def trl_trainer(prompts: list[Prompt], tmp_path: Path) -> Trainer:
    """TRL's trainer on the tiny generator: 4 images an epoch in 3 steps."""
    from accelerate.state import AcceleratorState, PartialState

    def made(*, hook: Any = None, **changes: Any) -> Any:
        AcceleratorState._reset_state(reset_partial_state=True)
        PartialState()  # without it the pipeline cannot be built: the first defect
        settings = {
            "sample_num_steps": 3,
            "sample_batch_size": 2,
            "train_batch_size": 2,
            "sample_guidance_scale": 2.0,
            "mixed_precision": "no",
            "train_learning_rate": 1e-2,
            "save_freq": 100,
            "project_kwargs": {
                "project_dir": str(tmp_path / "trl"),
                "automatic_checkpoint_naming": True,
            },
            **changes,
        }
        numbers = cycle(["0", "1"])
        return trl.DDPOTrainer(
            trl.DDPOConfig(**settings),
            reward_of_numbers,
            lambda: (next(numbers), {}),
            stock_pipeline(tmp_path, prompts),
            image_samples_hook=hook,
        )

    return made


def test_1_a_generator_without_adapters_opens_for_training(
    prompts: list[Prompt], small: Small, tmp_path: Path
) -> None:
    from accelerate.state import AcceleratorState, PartialState

    assert Policy(make_tiny_generator(), small(lora_rank=4)).weights
    AcceleratorState._reset_state(reset_partial_state=True)
    with pytest.raises(RuntimeError, match="initialize the accelerate state"):
        stock_pipeline(tmp_path, prompts)
    PartialState()


TWO_TRL_PROCESSES = """
import hashlib, sys, torch, warnings
warnings.simplefilter("ignore")
from pathlib import Path
from accelerate import PartialState
rank = PartialState(cpu=True).process_index
import trl
from generators.base import Prompt
from tests.generators.rl.test_trl_defects import reward_of_numbers, stock_pipeline

folder = sys.argv[1]
torch.manual_seed(0)  # the same adapters
config = trl.DDPOConfig(
    sample_num_steps=2, sample_batch_size=2, train_batch_size=2, mixed_precision="no",
    train_learning_rate=1e-2, project_kwargs={"project_dir": folder},
    accelerator_kwargs={"cpu": True},
)
pipeline = stock_pipeline(Path(folder), [Prompt("OCT", "drusen")])
trainer = trl.DDPOTrainer(config, reward_of_numbers, lambda: ("0", {}), pipeline)
weights = trainer.trainable_layers
def said():
    return hashlib.sha256(b"".join(w.detach().numpy().tobytes() for w in weights)).hexdigest()
before = said()
trainer.step(0, 0)
print(trainer.accelerator.num_processes, before, said())
"""


@pytest.mark.slow
def test_2_several_processes_end_with_the_same_weights(tmp_path: Path) -> None:
    """Ours do: tests/generators/training/test_processes.py. TRL's part with the first step."""
    make_tiny_generator().save(tmp_path / "start")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_TRL_PROCESSES, str(tmp_path)],
            env={
                **os.environ,
                "WORLD_SIZE": "2",
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "ACCELERATE_USE_CPU": "true",
                "PYTHONPATH": os.getcwd(),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate()[0].split()[-3:] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    (num_first, before_first, after_first), (num_second, before_second, after_second) = said
    assert num_first == num_second == "2"
    assert before_first == before_second  # they start alike
    assert after_first != after_second  # and part: each took a step along its own gradient


@pytest.mark.slow
def test_3_and_9_a_resumed_run_goes_on_learning_at_the_right_update(
    small: Small,
    prompts: list[Prompt],
    brightness: Reward,
    trl_trainer: Trainer,
    tmp_path: Path,
) -> None:
    train(make_tiny_generator(), Rollouts(prompts, brightness), small(), Conduct(tmp_path, ignore))
    resumed = Policy(make_tiny_generator(), small())
    progress = load_progress(tmp_path, resumed)
    trained = {id(p) for group in resumed.weights.optimizer.param_groups for p in group["params"]}
    assert {id(weight) for weight in resumed.weights.named.values()} == trained
    assert len(progress.history) == 2  # the next update is the third

    trl_trainer(save_freq=2).train(epochs=3)  # saves after epoch 2, as checkpoint_0
    again = trl_trainer(resume_from=str(tmp_path / "trl" / "checkpoints"))
    assert again.first_epoch == 1  # and goes on with epoch 1: defect 9
    unet = again.sd_pipeline.unet
    optimised = {id(p) for group in again.optimizer.param_groups for p in group["params"]}
    loaded = [p for name, p in unet.named_parameters() if ".default_1." in name]
    assert loaded and not any(id(parameter) in optimised for parameter in loaded)
    before = [parameter.detach().clone() for parameter in loaded]
    x_t, t_B = torch.randn(2, 4, 8, 8), torch.tensor([500, 100])
    tokens = torch.randn(2, 32, 16)
    with torch.no_grad():
        predicted = unet(x_t, t_B, tokens).sample
    again.step(1, 0)
    with torch.no_grad():
        assert torch.equal(unet(x_t, t_B, tokens).sample, predicted)  # trained, and nothing moved
    assert all(torch.equal(a, b) for a, b in zip(before, loaded, strict=True))


def test_4_a_reward_may_work_on_other_threads(
    small: Small, prompts: list[Prompt], trl_trainer: Trainer, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(2) as pool:

        def reward(images: Tensor, of: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
            mean_B = torch.stack(list(pool.map(torch.Tensor.mean, images)))
            return mean_B, torch.zeros_like(mean_B)

        done = train(
            make_tiny_generator(), Rollouts(prompts, reward), small(), Conduct(tmp_path, ignore)
        )
    assert len(done.history) == 2
    with pytest.raises(AttributeError, match="result"):
        trl_trainer(async_reward_computation=True).step(0, 0)


def test_5_the_result_can_be_saved(small: Small, trl_trainer: Trainer, tmp_path: Path) -> None:
    Policy(make_tiny_generator(), small()).weights.save_result(tmp_path / "ours")
    assert (tmp_path / "ours" / "pytorch_lora_weights.safetensors").exists()
    with pytest.raises(AttributeError, match="is_world_process_zero"):
        trl_trainer().save_pretrained(tmp_path / "theirs")


def test_6_updates_can_be_watched_without_a_tracker(
    small: Small, prompts: list[Prompt], brightness: Reward, trl_trainer: Trainer, tmp_path: Path
) -> None:
    seen: list[object] = []
    train(
        make_tiny_generator(),
        Rollouts(prompts, brightness),
        small(),
        Conduct(tmp_path, seen.append),
    )
    assert len(seen) == 2
    with pytest.raises(IndexError):
        trl_trainer(hook=lambda images, step, tracker: seen.append(images)).step(0, 0)


def test_7_in_bfloat16_nothing_is_clipped_before_the_first_update(
    small: Small, prompts: list[Prompt], brightness: Reward, trl_trainer: Trainer, tmp_path: Path
) -> None:
    config = small(algorithm="ddpo", rollout_dtype="bfloat16", training_dtype="bfloat16")
    (first, _) = train(
        make_tiny_generator(), Rollouts(prompts, brightness), config, Conduct(tmp_path, ignore)
    ).history
    assert first.clipped_fraction == 0.0
    trainer, logged = trl_trainer(mixed_precision="bf16", train_learning_rate=1e-12), []
    trainer.accelerator.log = lambda values, step: logged.append(values)
    trainer.step(0, 0)
    assert max(float(values["clipfrac"]) for values in logged if "clipfrac" in values) > 0.2


@pytest.mark.parametrize(
    ("spacing", "offset", "to_one"),
    list(product(["leading", "trailing", "linspace"], [0, 1], [False, True])),
)
def test_8_under_any_spacing_and_offset_log_probabilities_are_numbers(
    spacing: str,
    offset: int,
    to_one: bool,
    tiny_generator: DiffusionGenerator,
    prompts: list[Prompt],
) -> None:
    changes = {"timestep_spacing": spacing, "steps_offset": offset, "set_alpha_to_one": to_one}
    tiny_generator.process = VariancePreserving.from_config({**SCHEDULE, **changes})
    conditions = tiny_generator.conditioner(prompts[:2])
    made = rollout(tiny_generator, conditions, [0, 1], SamplingSettings(num_steps=4, batch_size=2))
    assert bool(torch.isfinite(made.log_probs_BK).all()) and made.log_probs_BK.shape == (2, 3)


def test_8_trls_last_step_is_not_a_number_with_the_usual_ddpm_scheduler(
    tiny_generator: DiffusionGenerator,
) -> None:
    from trl.models.modeling_sd_base import scheduler_step

    pipeline_scheduler = trl.models.modeling_sd_base.DDIMScheduler
    scheduler = pipeline_scheduler.from_config(
        {**SCHEDULE, "timestep_spacing": "leading", "steps_offset": 0}
    )
    scheduler.set_timesteps(4)
    x_t, prediction = torch.randn(2, 1, 4, 8, 8)
    last = scheduler_step(scheduler, prediction, scheduler.timesteps[-1], x_t, eta=1.0)
    assert math.isnan(float(last.log_probs[0]))
