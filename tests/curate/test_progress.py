import pytest
from rich.console import Console

from curate import progress as module
from curate.progress import progress


def test_without_a_terminal_the_last_line_says_all_done_with_the_rate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress(5, "images") as advance:
        advance(2)
        advance(3)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("5 of 5 images, ")
    assert lines[0].endswith(" images/s, 0 s left")


def test_without_a_terminal_lines_come_at_intervals_and_say_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with progress(100, "images") as advance:
        for _ in range(30):
            now[0] += 1.0
            advance(2)
    assert capsys.readouterr().err.splitlines() == [
        "20 of 100 images, 2.0 images/s, 40 s left",
        "40 of 100 images, 2.0 images/s, 30 s left",
        "60 of 100 images, 2.0 images/s, 20 s left",
    ]


def test_nothing_is_foretold_before_anything_is_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with progress(200, "images") as advance:
        now[0] += 60.0
        advance(0)
    assert capsys.readouterr().err.splitlines() == ["0 of 200 images"]


def test_on_a_terminal_there_is_a_bar_with_the_rate_and_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        module, "Console", lambda **how: Console(**how, force_terminal=True, width=100)
    )
    with progress(4, "images") as advance:
        advance(4)
    shown = capsys.readouterr().err
    assert "4/4" in shown
    assert "images/s" in shown
    assert "time left" in shown
