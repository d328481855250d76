"""Dockerfile, compose file and site of the docs, as far as they can be read without Docker."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import cli

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())


def stages() -> dict[str, str]:
    """Return {stage: what it is made from}."""
    return {name: of for of, name in re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.M)}


def test_every_file_that_the_image_copies_is_there_and_not_ignored() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    let_through = {line[1:] for line in lines if line.startswith("!")}
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M)
        for source in line.split()[:-1]
    ]
    assert len(copied) == len(let_through)
    for source in copied:
        assert (ROOT / source).exists() and source in let_through


def test_the_image_has_all_that_the_wheel_is_made_of() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    for package in re.findall(r'^    "(\w+)", "\w+\.\*",$', project, re.M):
        assert f"\nCOPY {package} {package}\n" in DOCKERFILE


def test_a_stage_copies_from_stages_that_come_before_it() -> None:
    assert set(re.findall(r"--from=(\S+)", DOCKERFILE)) <= set(stages())
    assert {"cpu", "cuda"} <= set(stages())
    assert {stages()["cpu"], stages()["cuda"]} == {"base"}


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_service_names_what_is_there(name: str) -> None:
    service = COMPOSE["services"][name]
    volumes = [volume.partition(":")[0] for volume in service.get("volumes", ())]
    assert set(volumes) <= set(COMPOSE["volumes"])
    assert {one["source"] for one in service.get("configs", ())} <= set(COMPOSE["configs"])
    assert set(service.get("depends_on", ())) <= set(COMPOSE["services"])
    if "build" in service:
        assert service["build"]["target"] in stages()
        words = [re.sub(r"\$\{(\w+):\?\}", r"\1.example.org", word) for word in service["command"]]
        command: Any = typer.main.get_command(cli.app)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context("curate", words)  # it takes these options


def test_what_reaches_browsers_goes_through_the_proxy() -> None:
    services = COMPOSE["services"]
    assert [name for name, own in services.items() if "ports" in own] == ["proxy"]
    for name, group in (("site", ["serve"]), ("label-studio", ["rate", "serve"])):
        assert services[name]["network_mode"] == "service:proxy"
        command: Any = typer.main.get_command(cli.app)
        for word in group:
            command = command.commands[word]
        [port] = [one.default for one in command.params if "--port" in one.opts]
        assert f"reverse_proxy 127.0.0.1:{port}" in COMPOSE["configs"]["caddyfile"]["content"]


def test_the_site_of_the_docs_shows_every_page_once() -> None:
    shown: list[str] = []

    def walk(entry: Any) -> None:
        for one in entry.values() if isinstance(entry, dict) else entry:
            shown.append(one) if isinstance(one, str) else walk(one)

    walk(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert sorted(shown) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))


@pytest.mark.apart
def test_the_site_of_the_docs_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="no mkdocs here: pip install 'curate-images[docs]'")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True))
    built = (tmp_path / "commands.html").read_text()
    assert "curate rate push" in built
    outside = re.findall(r'(?:src|href)="(https?://[^"]+\.(?:js|css))"', built)
    assert outside == []


def test_commands_of_the_docs_about_containers_name_the_targets() -> None:
    page = (ROOT / "docs" / "installing.md").read_text()
    for line in re.findall(r"^    (docker build .*)$", page, re.M):
        words = shlex.split(line)
        assert words[words.index("--target") + 1] in stages()
    assert "not been built" in page
