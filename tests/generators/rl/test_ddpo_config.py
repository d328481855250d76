import json
from pathlib import Path

import pytest

from generators.errors import GeneratorError
from generators.rl.peers.ddpo_config import DEFAULTS, NOT_NEEDED, from_ddpo_config, read_ddpo_config


def test_trls_own_defaults_become_its_algorithm_and_sizes() -> None:
    config, notes = from_ddpo_config({"sample_batch_size": 8, "sample_num_batches_per_epoch": 4})
    assert config.algorithm == "ddpo" and config.num_steps == 50 and config.guidance == 5.0
    assert config.images_per_update == 32 and config.group_size == 8
    assert config.minibatches == 32  # a step an image, as train_batch_size 1 has it
    assert config.learning_rate == 3e-4 and config.lora_rank == 4 and config.max_grad_norm == 1.0
    assert config.clip_sum == pytest.approx(1.6384)  # 1e-4 of a mean over 16,384 elements
    assert config.baseline_buffer == 0
    assert any("fp16" in note for note in notes)


def test_a_fraction_of_the_steps_is_a_window_and_trackers_are_buffers() -> None:
    config, _ = from_ddpo_config(
        {
            "sample_batch_size": 6,
            "sample_num_steps": 20,
            "train_timestep_fraction": 0.2,
            "per_prompt_stat_tracking": True,
            "per_prompt_stat_tracking_buffer_size": 32,
            "mixed_precision": "no",
        }
    )
    assert config.algorithm == "window" and config.window_size == 4
    assert config.baseline_buffer == 32 and config.training_dtype == "float32"
    assert config.images_per_update == 12 and config.group_size == 6


def test_a_file_is_read_and_what_is_not_needed_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ddpo.json"
    path.write_text(json.dumps({"sample_batch_size": 4, "log_with": "wandb", "sample_eta": 0.5}))
    config, notes = read_ddpo_config(path)
    assert config.images_per_update == 8
    assert "not needed here: log_with" in notes
    assert any("sample_eta 0.5 is not supported" in note for note in notes)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"learning_rate": 1.0}, "DDPOConfig has no field learning_rate"),
        ({"sample_batch_size": 1, "sample_num_batches_per_epoch": 1}, "1 images an epoch"),
        ({"train_learning_rate": 0.0}, "learning_rate"),
    ],
)
def test_what_cannot_be_read_or_run_is_refused(values: dict, said: str) -> None:
    with pytest.raises(GeneratorError, match=said):
        from_ddpo_config(values)


def test_what_is_no_json_object_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ddpo.json"
    path.write_text("num_epochs: 3")
    with pytest.raises(GeneratorError, match="is not a JSON file of DDPOConfig fields"):
        read_ddpo_config(path)


def test_every_field_of_the_real_config_is_known() -> None:
    trl = pytest.importorskip("trl", reason="the extra trl is not installed")
    real = vars(trl.DDPOConfig())
    assert set(real) == set(DEFAULTS) | NOT_NEEDED
    assert {name: real[name] for name in DEFAULTS} == DEFAULTS
