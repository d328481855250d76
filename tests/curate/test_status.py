import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from curate.production.watch import Watch, run_states
from curate.status import RunProgress, read_status
from curate.workspace import Workspace
from db import queries
from db.hashing import json_hash
from db.models import File, Image, Run

SETTINGS = {"num_steps": 20}
ROOT = Path(__file__).parents[2]


def add_run(ws: Workspace, count: int, first_seed: int) -> Run:
    """Add a version, two prompts and a plan of `count` images each."""
    ws.session.merge(File(sha256="a" * 64, num_bytes=1, media_type="image/png"))
    ws.session.flush()
    version = queries.versions.add_generator_version(
        ws.session, generator_name="g", family="f", files={"unet": "a" * 64}, how_made="x"
    )
    prompts = [
        queries.prompts.get_or_add_prompt(ws.session, modality="OCT", text=text)
        for text in ("a", "b")
    ]
    run = Run(
        id=json_hash([count, first_seed]),
        version_id=version.id,
        prompt_ids=[prompt.id for prompt in prompts],
        count=count,
        first_seed=first_seed,
        num_items=2 * count,
        settings=SETTINGS,
    )
    ws.session.add(run)
    ws.session.commit()
    return run


def add_image(ws: Workspace, run: Run, prompt: int, seed: int) -> None:
    ws.session.add(
        Image(
            file_sha256="a" * 64,
            pixels_sha256="b" * 64,
            origin="synthetic",
            prompt_id=run.prompt_ids[prompt],
            shape=[1, 8, 8],
            version_id=run.version_id,
            run_id=run.id,
            run_index=0,
            seed=seed,
            settings_hash=json_hash(SETTINGS),
            item_key=f"{prompt} {seed}",
        )
    )
    ws.session.commit()


def test_an_empty_workspace_has_zeros_and_no_run(workspace: Workspace) -> None:
    status = read_status(workspace)
    assert set(status.counts.values()) == {0}
    assert status.last_run is None


def test_the_last_run_counts_what_an_earlier_one_made(workspace: Workspace) -> None:
    first = add_run(workspace, 2, 0)
    for seed in (0, 1):
        add_image(workspace, first, 0, seed)
    second = add_run(workspace, 3, 1)
    add_image(workspace, second, 1, 3)
    status = read_status(workspace)
    assert status.last_run == RunProgress(second.id, second.version_id, done=2, planned=6)
    assert status.counts["synthetic_images"] == 3
    assert status.lines()[-2] == f"last run {second.id[:12]}: 2 of 6 images"


def test_a_working_run_says_how_it_is(workspace: Workspace) -> None:
    run = add_run(workspace, 50, 0)
    watch = Watch(workspace.folder, run.id, planned=100, done=10)
    assert read_status(workspace).lines()[-2].endswith(": 10 of 100 images, starting")
    watch.progress(30, 0, device="cpu", batch_size=8)
    status = read_status(workspace)
    assert status.last_run is not None and status.last_run.done == 40
    assert f"run {run.id[:12]}: 40 of 100 images, running" in status.lines()[-2]
    assert "(cpu, batches of 8)" in status.lines()[-2]
    assert status.to_json()["working_runs"][0]["is_working"] is True
    watch.end("stopped", made=30)
    assert read_status(workspace).working == []


def test_a_killed_run_is_known_as_such(workspace: Workspace) -> None:
    run = add_run(workspace, 50, 0)
    add_image(workspace, run, 0, 0)
    watch = Watch(workspace.folder, run.id, planned=100, done=0)
    watch.progress(7, 0)
    child = subprocess.Popen(["true"])
    child.wait()
    path = workspace.folder / "runs" / f"{run.id}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"process": child.pid}))
    status = read_status(workspace)
    assert status.working == []
    assert status.last_run is not None and status.last_run.done == 1  # what has a row
    assert "killed; the same command goes on" in run_states(workspace.folder)[0].line()


def test_a_run_of_more_prompts_than_a_statement_takes_is_counted(workspace: Workspace) -> None:
    run = add_run(workspace, 1, 0)
    add_image(workspace, run, 0, 0)
    add_image(workspace, run, 1, 0)
    unknown = [json_hash(number) for number in range(40_000)]
    driver: Any = workspace.session.connection().connection.driver_connection
    driver.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 32_766)  # SQLite's own; Debian has more
    run.prompt_ids = [run.prompt_ids[0], *unknown, run.prompt_ids[1]]
    assert queries.runs.num_items_done(workspace.session, run) == 2


def test_the_command_prints_integers_for_a_program(workspace: Workspace) -> None:
    command = [sys.executable, "cli.py", "status", "--json", "--workspace", str(workspace.folder)]
    found = json.loads(subprocess.check_output(command, cwd=ROOT))
    names = ("real_images", "synthetic_images", "ratings", "scores", "generator_versions")
    for name in (*names, "reward_models", "rounds", "releases"):
        assert found[name] == 0
        assert isinstance(found[name], int)


def test_status_loads_no_heavy_library() -> None:
    script = "import sys, curate.status; print({'torch', 'numpy'} & set(sys.modules))"
    found = subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, text=True)
    assert found.strip() == "set()"


def test_status_ends_with_the_next_step_until_the_circle_is_closed(
    workspace: Workspace,
) -> None:
    """Each state of a workspace names a command that there is; `curate` itself reads its words."""
    from typer.main import get_command

    import cli
    from tests.curate.conftest import Story, steps

    told, said = Story(workspace), []
    for step in [lambda _: None, *steps()]:
        step(told)
        said.append((status := read_status(workspace)).lines()[-1])
        assert said[-1] == f"next: {status.to_json()['next_step']}"
    seen = [line.rpartition("`curate ")[2].rstrip("`") for line in said]
    assert seen == [
        "generate",
        "generate",
        "generate",
        "rate simulate",
        "train-reward",
        "score",
        "score",
        "score",
        "export",
    ]
    base = told.versions[0].id
    queries.rounds.add_round(
        workspace.session,
        loop_name="my loop",
        number=1,
        base_version_id=base,
        start_version_id=base,
    )
    assert "`curate loop --name 'my loop'`" in read_status(workspace).lines()[-1]
    for words in {"runs list", "rate pull --campaign a", "loop --name a", "report", "loop", *seen}:
        command: Any = get_command(cli.app)
        names = words.split()
        while hasattr(command, "commands"):
            command = command.commands[names.pop(0)]
        command.make_context("curate", names)
