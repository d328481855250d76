"""The command line as a whole: instant help, errors in one line, a calm Ctrl-C."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from safetensors import SafetensorError
from typer.testing import CliRunner

import cli
from curate import __version__
from curate.errors import USER_ERRORS, CurateError
from curate.production.versions import save_version
from curate.quiet import QUIET
from curate.workspace import Workspace
from generators.base import Generator

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "diffusers", "transformers", "sklearn", "sqlmodel", "numpy", "PIL", "fsspec")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real command in a process of its own."""
    return subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "100"},
    )


@pytest.fixture
def failing() -> "type[Failing]":
    """The real command group with one command that raises what it is told to."""
    return Failing


class Failing:
    @staticmethod
    def run(error: BaseException, *arguments: str) -> Any:
        app = typer.Typer(cls=cli.Commands, pretty_exceptions_enable=False)
        app.callback()(cli.curate)

        @app.command()
        def fail() -> None:
            raise error

        return CliRunner().invoke(app, [*arguments, "fail"])


def test_help_loads_nothing_heavy() -> None:
    """Each of these takes longer to import than all of `curate --help` may."""
    code = f"import cli, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_help_has_a_panel_for_each_step_in_order() -> None:
    shown = run("--help").stdout
    places = [shown.index(f" {panel} ") for panel in cli.PANELS]
    assert places == sorted(places)


def test_help_shows_the_commands_and_where_to_start() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "curate quickstart" in done.stdout
    assert "import" in done.stdout


def test_the_version_is_shown() -> None:
    assert run("--version").stdout.strip() == f"curate {__version__}"


@pytest.mark.parametrize("kind", USER_ERRORS)
def test_what_a_user_can_mend_is_one_line_on_stderr_and_status_1(
    kind: type[Exception], failing: type[Failing]
) -> None:
    result = failing.run(kind("3 ratings, but 20 are needed.\n  Run `curate rate pull`."))
    assert result.exit_code == 1
    assert result.stderr == "Error: 3 ratings, but 20 are needed. Run `curate rate pull`.\n"
    assert result.stdout == ""


def test_windows_is_told_where_curate_runs_instead_of_an_import_error(
    failing: type[Failing],
) -> None:
    result = failing.run(ModuleNotFoundError("No module named 'fcntl'", name="fcntl"))
    assert result.exit_code == 1
    assert result.stderr == f"Error: {cli.NO_WINDOWS}\n"
    other = failing.run(ModuleNotFoundError("No module named 'ray'", name="ray"))
    assert isinstance(other.exception, ModuleNotFoundError)


def test_debug_shows_the_traceback(failing: type[Failing]) -> None:
    result = failing.run(CurateError("no"), "--debug")
    assert isinstance(result.exception, CurateError)


def test_a_programmer_s_mistake_keeps_its_traceback(failing: type[Failing]) -> None:
    assert isinstance(failing.run(ValueError("a bug")).exception, ValueError)


def test_debug_may_stand_behind_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["curate", "import", "none.csv", "--workspace", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    said = capsys.readouterr().err
    assert said.startswith("Error: No workspace in") and said.count("\n") == 1
    monkeypatch.setattr(sys, "argv", [*words, "--debug"])
    with pytest.raises(CurateError, match="No workspace in"):
        cli.main()


@pytest.mark.parametrize(
    ("mistyped", "said"),
    [
        ("import --no-such-option", "No such option: --no-such-option"),
        ("generate --sampler eulr", "'eulr' is not one of 'ddim', 'dpm++', 'unipc'"),
        ("generate --count many", "'--count'"),
        ("rate push --images -4", "'--images': Input should be greater than or equal to 1"),
        ("rate serve --port 80000", "'--port': Input should be less than or equal to 65535"),
        ("rate simulate --origin mars", "'mars' is not one of 'synthetic', 'real', 'both'"),
        ("export --format png", "'png' is not one of parquet, webdataset, dicom"),
        ("generat", "Did you mean 'generate'"),
    ],
)
def test_a_mistyped_option_or_value_is_one_line_and_status_2(mistyped: str, said: str) -> None:
    done = CliRunner().invoke(cli.app, mistyped.split())
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_ctrl_c_is_one_line_and_status_130(failing: type[Failing]) -> None:
    result = failing.run(KeyboardInterrupt())
    assert result.exit_code == 130
    assert result.stderr == "Stopped. Run the same command again to resume.\n"


@pytest.mark.slow
def test_ctrl_c_while_a_command_still_imports_is_calm_too() -> None:
    code = (
        "import signal, sys; sys.argv = ['curate', 'import', 'x.csv']\n"
        # a shell starts what it runs in the background with Ctrl-C ignored
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.addaudithook(lambda event, args: event == 'import' and args[0] == 'sqlmodel'"
        " and signal.raise_signal(signal.SIGINT))\n"
        "import cli; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 128 + signal.SIGINT
    assert "Traceback" not in done.stderr


def test_an_import_prints_its_numbers_and_every_bad_line(workspace: Any, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("L", (8, 8), 7).save(tmp_path / "a.png")
    table = tmp_path / "data.csv"
    table.write_text("path,Text,modality\na.png,drusen, large,OCT\nnone.png,normal,OCT\n")
    options = [str(table), "--workspace", str(workspace.folder)]
    result = CliRunner().invoke(cli.app, ["import", *options])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        "note: data.csv:2: unquoted comma: Text is read as 'drusen, large'",
        "refused: data.csv:3: none.png: no such file in the data folder",
        "images imported  1",
        "already there    0",
        "lines refused    1",
    ]
    strict = CliRunner().invoke(cli.app, ["import", *options, "--strict", "--json"])
    assert strict.exit_code == 1
    assert '"stopped": true' in strict.stdout


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
    ids=["the system", "safetensors"],
)
def test_a_full_disk_is_one_line_whoever_wrote(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr("curate.status.read_status", full)
    result = CliRunner().invoke(cli.app, ["status", "--workspace", str(workspace.folder)])
    assert result.exit_code == 1
    assert result.output.startswith("Error: No space left on the disk")
    assert result.output.count("\n") == 1


ANSWERED_AT_ONCE = {
    "status": "real images",
    "runs list": "No run yet",
    "generators list": "imported",
    "rate raters list": "Nobody yet",
    "generate": "No prompt",
    "generate --prompt drusen --modality Octt": "did you mean OCT?",
    "generate --prompt prompts.csv": "Give it as --prompts prompts.csv",
    "generate --prompts a.csv --prompt drusen": "Both --prompts and --prompt",
    "generate --prompt drusen --modality OCT --count 0": "at least 1 image",
    "rate push": "A campaign needs a name",
    "rate serve --token none.txt": "--token takes the name of a file",
    "rl-step --ray auto --loop first": "Drop one",
}


def test_lists_and_refusals_load_no_library_that_takes_seconds(
    workspace: Workspace, tiny_generator: Generator, tmp_path: Path
) -> None:
    tiny_generator.save(tmp_path / "tiny")
    save_version(
        workspace,
        tmp_path / "tiny",
        generator_name="t",
        family="text-to-image",
        how_made="imported",
    )
    workspace.session.commit()
    code = (
        "import cli, sys\n"
        "from typer.testing import CliRunner\n"
        f"for command, said in {ANSWERED_AT_ONCE!r}.items():\n"
        "    done = CliRunner().invoke(cli.app, command.split())\n"
        "    assert said in done.output, (command, done.output)\n"
        "    slow = {'torch', 'diffusers', 'transformers', 'sklearn'} & set(sys.modules)\n"
        "    assert not slow, (command, slow)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=workspace.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_quiet_shows_results_and_errors_only_wherever_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from curate.commands.shared import say
    from curate.progress import progress

    def called(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["curate", *words, "--workspace", str(tmp_path)])
        with pytest.raises(SystemExit):
            cli.main()
        return capsys.readouterr().err

    assert called("import", "none.csv", "-q").startswith("Error: No workspace in")
    token = QUIET.set(True)
    say("a remark")
    with progress(1, "images") as advance:
        advance(1)
    QUIET.reset(token)
    assert capsys.readouterr().err == ""
    say("a remark")
    assert capsys.readouterr().err == "a remark\n"
