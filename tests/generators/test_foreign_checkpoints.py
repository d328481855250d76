"""A checkpoint with a configuration that cannot work is refused when it is opened, in one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from generators import registry
from generators.errors import GeneratorError
from tests.tiny import tiny_generator

UNET, SCHEDULER = "unet/config.json", "scheduler/scheduler_config.json"
FLOW = "FlowMatchEulerDiscreteScheduler"


@pytest.mark.filterwarnings("ignore")  # what diffusers says of the very same faults
@pytest.mark.parametrize(
    ("file", "values", "said"),
    [
        (UNET, {"sample_size": None}, "sample_size None"),
        (UNET, {"sample_size": "x"}, "sample_size 'x'"),
        (UNET, {"sample_size": [8, 8, 8]}, "sample_size"),
        (UNET, {"sample_size": 0}, "sample_size 0"),
        (UNET, {"in_channels": 9}, "cannot be opened"),
        (UNET, {"cross_attention_dim": 999}, "cannot be opened"),
        (UNET, {"class_embed_type": "timestep"}, "lacks 4 of its weights"),
        (UNET, {"down_block_types": ["NoSuchBlock", "DownBlock2D"]}, "cannot be opened"),
        (SCHEDULER, {"beta_schedule": "zigzag"}, "zigzag"),
        (SCHEDULER, {"beta_end": 5.0}, "betas outside 0 .. 1"),
        (SCHEDULER, {"num_train_timesteps": -5}, "num_train_timesteps -5"),
        (SCHEDULER, {"num_train_timesteps": 10**12}, "num_train_timesteps 1000000000000"),
        (SCHEDULER, {"num_train_timesteps": "many"}, "num_train_timesteps 'many'"),
        (SCHEDULER, {"_class_name": FLOW}, "but predicts 'v_prediction'"),
        (SCHEDULER, {"_class_name": FLOW, "prediction_type": None, "shift": -1}, "shift -1"),
    ],
)
def test_each_fault_is_named(tmp_path: Path, file: str, values: dict[str, Any], said: str) -> None:
    tiny_generator().save(tmp_path)
    path = tmp_path / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    with pytest.raises(GeneratorError, match=said) as caught:
        registry.load("text-to-image", tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ['{"_class_name": ', "[]", '"pipeline"'])
def test_an_index_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "model_index.json").write_text(content)
    with pytest.raises(GeneratorError, match=r"model_index\.json .* Fetch the checkpoint again"):
        registry.family_of(tmp_path)
