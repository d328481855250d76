"""Which files a call passes from a command's option to the work that the option is for.

    python -m benchmarks.option_paths

takes three commands on the tests' tiny generator and looks at the stack when the work begins: the
product's files on it, the command's own and the work's counted too. A table in Markdown.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from typer.testing import CliRunner

import cli
from benchmarks.house_figures import ROOMS
from tests.curate.training.rated import rated_workspace

ROOT = Path(__file__).parents[1]
TEXT = ("generate", "--modality", "OCT", "--count", "1", "--prompt")
STEP = ("rl-step", "--updates", "1", "--prompts-per-update", "2", "--group-size", "2")


@dataclass(frozen=True)
class Asked:
    """An option, a command that is given it, and the function that works with its value."""

    option: str
    command: tuple[str, ...]
    file: str  # of the work, from the root
    function: str


ASKED = (
    Asked("generate --prompt", (*TEXT, "scar"), "generators/families/text_to_image.py", "__call__"),
    Asked(
        "generate --steps",
        (*TEXT, "cyst", "--steps", "2"),
        "generators/diffusion/generator.py",
        "sample",
    ),
    Asked(
        "rl-step --window",
        (*STEP, "--steps", "3", "--window", "1"),
        "generators/rl/algorithms/policy_gradient.py",
        "policy_gradient",
    ),
)


def files_passed(asked: Asked, workspace: Path) -> list[str]:
    """Return the files on the way, the command's first."""
    found: list[str] = []

    def look(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or found or code.co_name != asked.function:
            return
        if code.co_filename != str(ROOT / asked.file):
            return
        step: FrameType | None = frame
        while step is not None:
            path = Path(step.f_code.co_filename)
            if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in ROOMS:
                found.insert(0, path.relative_to(ROOT).as_posix())
            step = step.f_back

    sys.setprofile(look)
    done = CliRunner().invoke(cli.app, [*asked.command, "--workspace", str(workspace)])
    sys.setprofile(None)
    assert done.exit_code == 0, done.output
    assert found, f"{asked.file} was not asked"
    command = next(place for place, file in enumerate(found) if "/commands/" in file)
    return list(dict.fromkeys(found[command:]))


def main() -> None:
    """Print the table."""
    print("| option | files | which |")
    print("|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        workspace = rated_workspace(Path(folder) / "workspace")
        for asked in ASKED:
            files = files_passed(asked, workspace)
            print(f"| `{asked.option}` | {len(files)} | {', '.join(files)} |")


if __name__ == "__main__":
    main()
