"""The shape of the repository, held by tests."""

import ast
import subprocess
import sys
from pathlib import Path

import hengyu

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(hengyu.__file__).parent


def test_folders_of_declarations_hold_no_code() -> None:
    for folder in ("suites", "datasets", "reports"):
        assert not list((ROOT / folder).rglob("*.py"))


def test_datasets_is_not_our_folder() -> None:
    from importlib.util import find_spec

    spec = find_spec("datasets")
    assert spec is not None and spec.origin is not None
    assert not Path(spec.origin).is_relative_to(ROOT / "datasets")


def test_every_folder_of_modules_is_a_package_and_says_what_it_is() -> None:
    for folder in {path.parent for path in PACKAGE.rglob("*.py")}:
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))), folder


def test_the_top_level_holds_packages_and_few_modules() -> None:
    assert {p.stem for p in PACKAGE.glob("*.py")} == {"__init__", "__main__", "api", "estimators"}


def test_no_module_is_called_utils() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert "util" not in path.name


def test_python_m_hengyu_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "hengyu", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"hengyu, version {hengyu.__version__}\n"


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, time; t = time.perf_counter(); from hengyu.cli import main\n"
        "try: main(['run', '--help'])\nexcept SystemExit: pass\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'numba', 'scipy', 'sklearn', 'pandas', 'altair', 'numpy'}\n"
        "print('SECONDS', time.perf_counter() - t, 'HEAVY', sorted(heavy & set(sys.modules)))"
    )
    seconds = []
    for _ in range(5):  # the quickest of a few: other processes share the machine
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        last = done.stdout.strip().splitlines()[-1].split()
        assert last[3:] == ["[]"], done.stdout
        seconds.append(float(last[1]))
        if seconds[-1] < 0.5:
            break
    assert min(seconds) < 0.5, seconds
