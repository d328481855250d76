import pytest

from generators.config import SamplingSettings
from generators.errors import GeneratorError


def test_settings_come_back_from_their_json() -> None:
    settings = SamplingSettings(num_steps=7, guidance=3.5, sampler="ddim", eta=0.5, batch_size=3)
    assert SamplingSettings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sampler": "magic"}, "ddim, dpm\\+\\+, unipc"),
        ({"dtype": "float8"}, "float32, bfloat16"),
        ({"num_steps": 0}, "0 steps"),
        ({"batch_size": 0}, "batches of 0"),
        ({"eta": 1.5}, "eta 1.5"),
        ({"eta": 0.5, "sampler": "dpm++"}, "only ddim"),
    ],
)
def test_settings_that_nothing_can_sample_are_refused_by_name(
    changes: dict[str, object], named: str
) -> None:
    with pytest.raises(GeneratorError, match=named):
        SamplingSettings.from_json(changes)
