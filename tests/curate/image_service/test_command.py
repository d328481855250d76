"""`curate rate images` as a user runs it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

import cli
from curate.image_service.addresses import signed_urls
from curate.workspace import Workspace
from db.models import Campaign

CLI = Path(__file__).parents[3] / "cli.py"


def run(ws: Workspace, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, str(CLI), "rate", "images", "--workspace", str(ws.folder)]
    return subprocess.Popen(
        [*command, "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )


@pytest.mark.slow
def test_it_serves_until_it_is_stopped(workspace: Workspace, campaign: Campaign) -> None:
    page = "https://rate.example"
    with run(workspace, "--page", page) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        address = re.search(r"Images are at (http://127\.0\.0\.1:\d+) for https://rate", said)
        assert address is not None, said
        url = next(iter(signed_urls(workspace, campaign, base_url=address[1]).values()))
        answer = httpx.get(url, headers={"Origin": page}, timeout=60)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(timeout=60) == 0, rest
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == page
    assert rest == ""  # no address in any log


def test_without_a_rating_page_it_says_what_to_name(workspace: Workspace) -> None:
    words = ["rate", "images", "--workspace", str(workspace.folder), "--port", "0"]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 1
    assert "curate rate images --page" in done.stderr
