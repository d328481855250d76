import pytest

from generators.errors import GeneratorError
from generators.training.config import LORA_TARGETS, TrainingConfig


def test_a_config_survives_its_row() -> None:
    config = TrainingConfig(num_steps=7, lora_rank=4, drop_text=0.2)
    assert TrainingConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("change", "needed"),
    [
        ({"num_steps": 0}, "num_steps"),
        ({"micro_batch": 0}, "micro_batch"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"warmup_steps": -1}, "warmup_steps"),
        ({"noise_offset": -0.1}, "noise_offset"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"drop_text": 0.95}, "at most 1 in all"),
        ({"lr_schedule": "step"}, "constant, linear, cosine"),
        ({"dtype": "float16"}, "float32, bfloat16"),
        ({"lora_targets": "all"}, "attention"),
        ({"prediction_type": "sample"}, "epsilon"),
        ({"lora_rank": 4, "train_text_encoder": True}, "adapters"),
    ],
)
def test_settings_that_cannot_be_run_are_refused(change: dict, needed: str) -> None:
    with pytest.raises(GeneratorError, match=needed):
        TrainingConfig(**change)


def test_the_learning_rate_warms_up_and_then_follows_its_schedule() -> None:
    def rates(schedule: str) -> list[float]:
        config = TrainingConfig(
            num_steps=6, warmup_steps=2, learning_rate=1.0, lr_schedule=schedule
        )
        return [config.learning_rate_at(step) for step in range(6)]

    assert rates("constant") == [0.5, 1, 1, 1, 1, 1]
    assert rates("linear") == pytest.approx([0.5, 1, 1, 0.75, 0.5, 0.25])
    assert rates("cosine") == pytest.approx([0.5, 1, 1, 0.853553, 0.5, 0.146447], abs=1e-6)


def test_adapters_may_go_where_the_lora_module_knows_places() -> None:
    from generators import lora

    assert set(LORA_TARGETS) == set(lora.TARGETS)
