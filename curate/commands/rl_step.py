"""`curate rl-step`: find what the step needs, say its price, show its progress."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from curate.commands.generate import rows_of
from curate.progress import progress
from curate.prompts.plan import read_sheet
from curate.training.rl import (
    cost_of,
    doubts_about,
    prompts_to_practise,
    rl_step_on_model,
    rl_step_on_people,
)
from curate.workspace import Workspace
from db import queries
from db.models import GeneratorVersion
from db.models import Prompt as PromptRow
from db.models import RewardModel as RewardModelRow
from generators.rl.config import RLConfig, usual
from generators.rl.estimate import Estimate
from generators.rl.peers.ddpo_config import read_ddpo_config
from generators.rl.progress import UpdateHealth
from generators.rl.training import Report
from generators.training.processes import Processes, joined_processes

Say = Callable[[str], None]


ADVICE = (
    "Take one small step (--kl-target 0.003), or only filter images by score, and let people rate "
    "before the next."
)
OPTION_OF = {
    "num_updates": "updates",
    "num_steps": "steps",
    "window_size": "window",
    "memory_gib": "memory",
    "compile": "compiled",
}


def given_options(context: Any) -> set[str]:
    """Return the options that the user gave, by a typer context, rather than the defaults."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source and source.name == "COMMANDLINE"}


def settings(
    options: Mapping[str, Any], given: set[str], ddpo_config: Path | None, say: Say
) -> RLConfig:
    """Return the `given` options beside the algorithm's usual settings, or a DDPOConfig's."""
    chosen = {name: options[name] for name in options if OPTION_OF.get(name, name) in given}
    if ddpo_config is None:
        return usual(**chosen)
    config, notes = read_ddpo_config(ddpo_config)
    for note in notes:
        say(f"DDPOConfig: {note}")
    return replace(config, **chosen)


def run_rl_step(
    ws: Workspace,
    config: RLConfig,
    *,
    version: str,
    reward_model: str,
    sheet: Path | None,
    from_people: bool,
    say: Say,
    known_prompts: Sequence[PromptRow] = (),
) -> GeneratorVersion | None:
    """Take an RL step from a version by a reward model, each named by "latest" or an id's start.

    Returns None in all processes but the one that tells what was made.

    Without a prompt sheet it practises on `known_prompts`; without these, on the prompts whose
    images the reward model was fitted to.
    `from_people`: no reward model, but ratings (nft) or comparisons (dpo) themselves.
    """
    processes = joined_processes()
    say = say if processes.is_first else lambda line: None
    for concern in config.concerns():
        say(f"Note: {concern}")
    start, model, prompts = _materials(
        ws, version, reward_model, sheet, from_people, say, known_prompts
    )
    if processes.is_first and config.algorithm != "trl-ddpo":
        say(in_words(_price(ws, config, start, model, prompts, processes)))
    with _reported(config, processes) as report:
        if model is None:
            made = rl_step_on_people(ws, config, start=start, report=report, processes=processes)
        else:
            made = rl_step_on_model(
                ws,
                config,
                start=start,
                prompts=prompts,
                reward_model=model,
                report=report,
                processes=processes,
            )
    return made if processes.is_first else None


def price_of_rl_step(
    ws: Workspace,
    config: RLConfig,
    *,
    version: str,
    reward_model: str,
    sheet: Path | None,
    from_people: bool,
    say: Say,
) -> Estimate:
    """Return what `run_rl_step` would cost, without taking the step."""
    found = _materials(ws, version, reward_model, sheet, from_people, say, ())
    return _price(ws, config, *found, joined_processes())


def _materials(
    ws: Workspace,
    version: str,
    reward_model: str,
    sheet: Path | None,
    from_people: bool,
    say: Say,
    known_prompts: Sequence[PromptRow],
) -> tuple[GeneratorVersion, RewardModelRow | None, Sequence[PromptRow]]:
    """Return start, reward model and prompts; neither of the last two where people have said it."""
    start = queries.versions.find_version(ws.session, version)
    if from_people:
        return start, None, ()
    model = queries.reward_models.find_reward_model(ws.session, reward_model)
    prompts = (
        _sheet_prompts(ws, sheet, say) if sheet else known_prompts or prompts_to_practise(ws, model)
    )
    for doubt in doubts_about(model):
        say(f"Note: {doubt}. {ADVICE}")
    return start, model, prompts


def _price(
    ws: Workspace,
    config: RLConfig,
    start: GeneratorVersion,
    model: RewardModelRow | None,
    prompts: Sequence[PromptRow],
    processes: Processes,
) -> Estimate:
    prompt = prompts[0] if prompts else None
    return cost_of(ws, config, start=start, prompt=prompt, reward_model=model, processes=processes)


@contextmanager
def _reported(config: RLConfig, processes: Processes) -> Iterator[Report]:
    """Yield who is told of updates: a progress bar, of the first process only."""
    if not processes.is_first:
        yield lambda health: None
        return
    with progress(config.num_updates, "updates") as advance:
        num_shown = 0

        def report(health: UpdateHealth) -> None:
            nonlocal num_shown  # what an earlier, stopped run did counts at once
            advance(health.update + 1 - num_shown)
            num_shown = health.update + 1

        yield report


def _sheet_prompts(ws: Workspace, path: Path, say: Say) -> list[PromptRow]:
    sheet = read_sheet(ws, path)
    for remark in sheet.notes:
        say(str(remark))
    for remark in sheet.refused:
        say(f"refused: {remark}")
    return rows_of(ws, sheet.prompts)


def in_words(cost: Estimate) -> str:
    """Return the price in one line."""
    return (
        f"{cost.images} images, {cost.evaluations} U-Net evaluations (rollouts "
        f"{cost.rollout_evaluations}, training {cost.training_evaluations}, anchor "
        f"{cost.kl_evaluations}), {cost.flops / 1e12:.3g} TFLOP, about {cost.seconds / 60:.1f} "
        "minutes with the rewards"
    )


def summary(version: GeneratorVersion) -> dict[str, Any]:
    """Return the step's outcome in plain values: first and last update side by side."""
    updates = version.metrics["updates"]
    shown = ("reward_mean", "reward_sd", "spread_mean", "squared_change", "kl")
    return {
        "version": version.id,
        "parent": version.parent_id,
        "reward_model": version.reward_model_id,
        "weights": version.weights,
        "num_updates": len(updates),
        "stopped": version.metrics["stopped"],
        "first": {name: updates[0][name] for name in shown},
        "last": {name: updates[-1][name] for name in shown},
    }


def in_lines(version: GeneratorVersion) -> list[str]:
    """Return the step's outcome for people."""
    told = summary(version)
    first, last = told["first"], told["last"]
    lines = [
        f"Generator version {version.id[:12]} from {(version.parent_id or '')[:12]}",
        f"reward {first['reward_mean']:.3f} -> {last['reward_mean']:.3f} "
        f"(sd among images {last['reward_sd']:.3f}, spread {last['spread_mean']:.3f})",
        f"{told['num_updates']} updates; predictions changed by {last['squared_change']:.3g} (mean "
        "square)" + (f", KL {last['kl']:.3g} nats an image and step" if last["kl"] else ""),
    ]
    if told["stopped"]:
        lines.append("Stopped early: the KL budget was overspent. Lower --learning-rate.")
    return lines
