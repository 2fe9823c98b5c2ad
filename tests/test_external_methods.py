"""Methods from outside the package: --methods FILE, and the entry-point group."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hengyu.base.errors import HengyuError
from hengyu.cli import main
from hengyu.evaluation.cells import scores_jointly
from hengyu.methods import external, find_method, method_names
from hengyu.methods.grammar import parse_entry

SHIFT = '''"""shift(by): every column moved."""
from dataclasses import dataclass
from typing import Self

from hengyu.methods import Floats, Transform


@dataclass
class Shift(Transform):
    """Adds ``by`` to every column; (n, d) to (n, d)."""

    by: float = 1.0
    needs_fit = False

    def fit(self, x: Floats) -> Self:
        return self

    def __call__(self, x: Floats) -> Floats:
        return x + self.by


METHOD = Shift
'''


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "_loaded", {})
    monkeypatch.setattr(external, "_files", [])


def test_a_file_adds_a_method_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "shift_all.py"
    path.write_text(SHIFT, encoding="utf-8")
    assert external.load_methods(path) == "shift-all"
    assert "shift-all" in method_names() and external.external_files() == (path,)
    entry = parse_entry("shift-all(by=2.0)")
    assert str(entry) == "shift-all(by=2.0)" and entry.steps[0].method is find_method("shift-all")
    np.testing.assert_array_equal(entry.steps[0].make()(np.zeros((2, 3))), np.full((2, 3), 2.0))


def test_one_that_scores_pairs_together_takes_no_rank_either(tmp_path: Path) -> None:
    text = """
from dataclasses import dataclass

from hengyu.methods.tuners.cross_encoder import METHOD as CrossEncoder


@dataclass
class Both(CrossEncoder):
    '''Another one.'''


METHOD = Both
"""
    path = tmp_path / "both.py"
    path.write_text(text, encoding="utf-8")
    assert not scores_jointly("both(lr=0.001)"), "it is not there yet"
    external.load_methods(path)
    assert scores_jointly("both(lr=0.001)") and scores_jointly("cross-encoder") and scores_jointly("cosent > both")
    alone = ("raw", "cosent", "bm25", "-", 'bm25(grams=words, words="a > cross-encoder")')
    assert not any(map(scores_jointly, alone))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("METHOD = 3", "must be a dataclass derived from"),
        ("1 / 0", "running it fails (ZeroDivisionError: division by zero)"),
        (SHIFT.replace("    def __call__", "    def call"), "Shift lacks __call__"),
        (SHIFT.replace("@dataclass\n", ""), "must be a dataclass"),
        ("", "must be a dataclass"),
    ],
)
def test_a_file_without_a_whole_method_is_refused_in_a_sentence(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(HengyuError) as e:
        external.load_methods(path)
    assert says in str(e.value) and str(path) in str(e.value)


def test_the_command_line_lists_it_and_refuses_what_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "shift.py"
    path.write_text(SHIFT, encoding="utf-8")
    done = CliRunner().invoke(main, ["list", "methods", "--methods", str(path)])
    assert done.exit_code == 0 and "shift" in done.stdout and "by=1.0" in done.stdout
    done = CliRunner().invoke(main, ["list", "methods", "--methods", str(tmp_path / "none.py")])
    assert done.exit_code == 2 and "none.py: is not a Python file" in done.stderr
    assert CliRunner().invoke(main, ["list", "methods"]).stdout.count("shift(") == 0


def test_a_suite_cannot_name_code(tmp_path: Path) -> None:
    suite = tmp_path / "s.toml"
    suite.write_text('name = "s"\ntasks = ["hengyu-sts:test"]\nmethods = ["shift.py"]\n', encoding="utf-8")
    done = CliRunner().invoke(main, ["validate", str(suite)])
    assert done.exit_code == 2 and "key 'methods' is unknown" in done.output


def test_installed_packages_offer_methods_by_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_shift.py").write_text(SHIFT, encoding="utf-8")
    about = tmp_path / "their_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text("[hengyu.methods]\ntheir-shift = their_shift:Shift\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    external._installed.cache_clear()
    try:
        assert "their-shift" in method_names()
        assert parse_entry("whitening > their-shift").steps[1].make().by == 1.0
    finally:
        external._installed.cache_clear()
