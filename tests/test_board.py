"""The board's order, ranks, marks and holes, and that the terminal shows all of it."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from helpers import runs
from rich.console import Console

from hengyu.report.board.board import make_board, metrics_of, percent
from hengyu.report.board.cell import HEATS
from hengyu.report.terminal import print_board

RUN = runs.make_run()
HOSTILE = runs.make_run(hostile=True)


def test_rows_stand_by_the_mean_and_rows_with_a_hole_come_last_without_a_rank():
    board = make_board(RUN)
    assert board.columns[board.main].task == "mean"
    means = [row.cells[board.main].value for row in board.rows]
    whole = [m for m in means if m is not None]
    assert whole == sorted(whole, reverse=True)
    assert means[: len(whole)] == whole
    assert all((row.rank is None) == (m is None) for row, m in zip(board.rows, means, strict=True))
    assert 0 < len(means) - len(whole) < 10


def test_equal_means_share_a_rank_and_the_next_rank_counts_them():
    board = make_board(RUN)
    seen: dict[float, int] = {}
    for place, row in enumerate((r for r in board.rows if r.rank), 1):
        expected = seen.setdefault(round(row.cells[board.main].value, 9), place)
        assert row.rank == expected
    assert len(seen) < sum(r.rank is not None for r in board.rows), "the made-up run holds a tie"


def test_the_best_of_a_column_is_its_highest_number():
    board = make_board(RUN)
    for i, column in enumerate(board.columns):
        values = [row.cells[i].value for row in board.rows if row.cells[i].value is not None]
        best = [row.cells[i].value for row in board.rows if row.cells[i].best]
        assert best and all(v == pytest.approx(max(values), abs=1e-9) for v in best), column.task


def test_rows_level_with_the_best_are_marked_and_the_best_is_not_among_them():
    board = make_board(RUN)
    stands = {(s.row, s.task): s for s in RUN.standings}
    for i, column in enumerate(board.columns):
        for row in board.rows:
            cell = row.cells[i]
            level = cell.value is not None and stands[row.key, column.task].tied
            assert cell.tied == (level and not cell.best)
    main = board.rows[0].cells[board.main]
    assert main.best and main.ranks == "1–3"
    assert not any(c.tied or c.ranks for row in make_board(replace(RUN, standings=())).rows for c in row.cells)


def test_shades_follow_the_numbers_of_a_column_and_its_best_is_darkest():
    for metric in metrics_of(RUN):
        board = make_board(RUN, metric)
        for i in range(len(board.columns)):
            cells = sorted((r.cells[i] for r in board.rows if r.cells[i].value is not None), key=lambda c: c.value)
            shades = [c.heat for c in cells]
            assert shades == sorted(shades) and {shades[0], shades[-1]} == {0, HEATS - 1}
    assert all(c.heat is None for row in board.rows for c in row.cells if c.value is None)


def test_a_family_is_the_entry_without_its_parameters():
    families = {row.entry: row.family for row in make_board(RUN).rows}
    assert families["whitening(dim=32)"] == families["whitening"] == "whitening"
    assert families["jl(dim=64, seed=7)"] == "jl"


def test_baselines_are_marked_and_sweep_points_are_no_rows():
    board = make_board(RUN)
    assert {row.encoder for row in board.rows if row.baseline} == {"random", "tfidf", "char-mean"}
    assert len(board.rows) == len({r.row for r in RUN.records if not r.sweep})
    assert not any("pca" in row.entry for row in board.rows)


def test_columns_are_the_tasks_in_order_then_the_means_with_n_and_ceiling():
    board = make_board(RUN)
    assert [c.task for c in board.columns] == [*runs.TASKS, "mean", "w-mean"]
    assert board.columns[0].n == 20000
    assert board.columns[0].ceiling == 0.665
    assert "at most 66.50" in board.columns[0].about


def test_cells_without_a_number_say_why():
    board = make_board(RUN)
    cells = [cell for row in board.rows for cell in row.cells]
    assert {c.status for c in cells} == {"ok", "failed", "degenerate", "unavailable", "incomplete", "missing"}
    assert [n.split(":")[0] for n in board.notes] == ["failed", "degenerate", "unavailable"]
    failed = next(c for c in cells if c.status == "failed")
    assert failed.text == f"failed [{failed.note}]"
    assert failed.value is None and not failed.interval and not failed.delta


def test_other_metrics_keep_the_order_of_the_spearman_board():
    rows = [row.key for row in make_board(RUN).rows]
    assert metrics_of(RUN) == ("spearman", "pearson", "auc", "ceiling-share")
    for metric in metrics_of(RUN):
        board = make_board(RUN, metric)
        kept = {row.key for row in board.rows}
        assert [row.key for row in board.rows] == [r for r in rows if r in kept], metric


def test_one_task_is_its_own_mean():
    one = replace(RUN, records=tuple(r for r in RUN.records if r.task in ("BQ:test", "mean", "w-mean")))
    board = make_board(one)
    assert [c.task for c in board.columns] == ["BQ:test"]
    assert board.main == 0
    assert board.rows[0].rank == 1


def test_the_aggregate_of_a_suite_stands_behind_its_splits():
    extra = [replace(r, task=f"BQ:{kind}") for r in RUN.records if r.task == "BQ:test" for kind in ("avg", "w-avg")]
    header = {**RUN.header, "suite": {**RUN.header["suite"], "aggregate": "w-avg"}}
    board = make_board(replace(RUN, header=header, records=(*RUN.records, *extra)))
    assert [c.task for c in board.columns][:4] == ["ATEC:test", "BQ:test", "BQ:w-avg", "LCQMC:test"]


def test_an_empty_header_is_enough():
    board = make_board(replace(RUN, header={"run": "x"}))
    assert len(board.rows) == len(make_board(RUN).rows)
    assert make_board(replace(RUN, header={"run": "x"}, records=())).rows == ()


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (None, False, ""),
        (-0.00001, False, "0.00"),
        (-0.00001, True, "+0.00"),
        (0.12345, False, "12.35"),
        (-0.5, True, "-50.00"),
    ],
)
def test_numbers_are_printed_x_100_and_never_as_minus_zero(value, signed, text):
    assert percent(value, signed=signed) == text


def _printed(run, width, *, terminal):
    out = io.StringIO()
    print_board(run, Console(file=out, width=width, force_terminal=terminal, color_system=None))
    return out.getvalue()


def test_a_pipe_gets_one_line_a_row_and_nothing_is_cut():
    lines = _printed(RUN, 40, terminal=False).splitlines()
    board = make_board(RUN)
    for row in board.rows:
        line = next(
            text for text in lines
            if all(part in text.split("  ") or f" {part} " in f" {text} " for part in (row.encoder, row.entry))
            and f" {row.pooling} " in text and all(cell.text in text for cell in row.cells)
        )  # fmt: skip
        assert row.cells[board.main].interval in line
    assert not any("…" in line for line in lines)


def test_the_interval_stands_beside_the_number_that_it_belongs_to():
    lines = _printed(RUN, 300, terminal=False).splitlines()
    first = make_board(RUN).rows[0]
    last = {c.task: cell for c, cell in zip(make_board(RUN).columns, first.cells, strict=True)}
    line = next(text for text in lines if text.split()[:2] == [str(first.rank), first.encoder])
    assert line.index(last["mean"].text) < line.index(last["mean"].interval) < line.rindex(last["w-mean"].text)
    assert line.rstrip().rstrip("*").endswith(last["w-mean"].text), "w-mean has no interval of its own there"


@pytest.mark.parametrize("width", [40, 80, 120, 300])
def test_every_number_is_there_at_every_width(width):
    printed = _printed(RUN, width, terminal=True)
    board = make_board(RUN)
    folded = "in a wider terminal" in printed
    assert folded == (width == 120), "narrower a block a row, wider the whole table"
    for row in board.rows:
        for cell, column in zip(row.cells, board.columns, strict=True):
            assert cell.text in printed or (folded and (column.task == "w-mean" or f"[{cell.note}]" in printed))
        assert row.cells[board.main].interval in printed or folded
    assert "…" not in printed
    for note in board.notes:
        assert note in printed
    assert "warning: hengyu-mini" in printed


def test_a_board_of_five_tasks_fits_100_columns_one_line_a_row():
    kept = tuple(r for r in RUN.records if r.encoder != runs.ENCODERS[1])
    run = replace(RUN, records=kept)
    lines = _printed(run, 100, terminal=True).splitlines()
    board = make_board(run)
    assert "all rows: encoder hengyu-mini (baselines apart)" in lines
    table = [line for line in lines if line[:3].strip().isdigit()]
    assert len(table) == sum(row.rank is not None for row in board.rows) and max(map(len, table)) <= 100
    first = board.rows[0]
    assert all(cell.text in table[0] for cell, c in zip(first.cells, board.columns, strict=True) if c.task != "w-mean")
    assert any("tfidf (baseline)" in line for line in table), (
        "a baseline is named where the encoders' column is left out"
    )
    assert any(line.rstrip().endswith("+0.90▲") for line in table), "what is significant is marked"


def test_findings_come_last():
    lines = _printed(RUN, 100, terminal=True).splitlines()
    at = lines.index("Findings")
    assert lines[at - 1].startswith("warning: ") and 1 <= len(lines[at + 1 :]) <= 3
    assert all(line.startswith("- ") for line in lines[at + 1 :])


def test_names_neither_format_nor_steer_the_terminal():
    first = HOSTILE.records[0]
    run = replace(RUN, records=(replace(first, encoder="[bold]x[/bold]\x1b[2J", entry="[red]raw"),))
    printed = _printed(run, 200, terminal=True)
    assert "[bold]x[/bold]" in printed
    assert "[red]raw" in printed
    assert "\x1b[2J" not in printed
