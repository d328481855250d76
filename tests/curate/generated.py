"""Images that a real, tiny generator made, scored as a reward model might."""

from collections.abc import Callable
from pathlib import Path

from curate.production.plan import plan_run
from curate.production.run import run_plan
from curate.production.versions import save_version
from curate.workspace import Workspace
from db import queries
from db.models import Image, RewardModel, Score
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator


def add_scored_images(
    ws: Workspace,
    generator: DiffusionGenerator,
    folder: Path,
    settings: SamplingSettings,
    prompts: dict[str, str],
    score_of: Callable[[int, Image], float],
) -> None:
    """Save the generator in `folder` and make three OCT images of each {text: label}."""
    generator.save(folder)
    version = save_version(
        ws, folder, generator_name="tiny", family=generator.family, how_made="imported"
    )
    asked = [
        queries.prompts.get_or_add_prompt(ws.session, modality="OCT", text=text, label=label)
        for text, label in prompts.items()
    ]
    run = plan_run(ws, version, asked, count=3, settings=settings)
    run_plan(ws, run, lambda number: None)
    [sha] = queries.files.add_files(ws.session, ws.store, [(b"heads", "application/x-safetensors")])
    model = RewardModel(
        id="c" * 64, backbone="embedded", file_sha256=sha, simulated=True, num_ratings=0
    )
    ws.session.add(model)
    ws.session.flush()
    for place, (image, _) in enumerate(queries.images.images(ws.session)):
        mean = score_of(place, image)
        ws.session.add(Score(reward_model_id=model.id, image_id=image.id, mean=mean, spread=0.0))
    ws.session.commit()
