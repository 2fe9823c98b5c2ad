"""How far long work is, on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from hengyu.base import progress
from hengyu.base.progress import Progress


class Clock:
    """A clock that the test sets."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize("before", [0, 70])
def test_work_that_goes_on_is_paced_by_what_is_done_now(before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    console = Console(file=io.StringIO(), width=200)
    total = before + 80  # 1 unit a second
    with Progress(console).stage("work", total) as tick:
        for second in range(21):
            clock.now = 5.0 + second  # 5 seconds of loading
            tick(before + second)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines == [f"work: {before + 10} of {total}, about 70 s left"]
    with Progress(console).stage("work", total) as tick:
        tick(before)
        clock.now += 20.0
        tick(before + 20)
    assert console.file.getvalue().splitlines()[-1] == f"work: {before + 20} of {total}, about 60 s left"  # type: ignore[attr-defined]


def test_a_bar_begins_where_the_work_goes_on() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Progress(console).stage("work", 100) as tick:
        tick(70)
        tick(71)
    assert "71/100" in console.file.getvalue()  # type: ignore[attr-defined]
