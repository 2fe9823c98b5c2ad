"""What is shipped: every import is declared, versions agree. `.ci/wheel` installs the wheel and runs it."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from packaging.requirements import Requirement

import hengyu

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(hengyu.__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DISTRIBUTIONS = {"faiss": "faiss-cpu", "sklearn": "scikit-learn", "vl_convert": "altair", "markupsafe": "jinja2"}
_HOOKS = "hatchling.builders.hooks.plugin.interface"
_SHARED = ("suites", "datasets", "reports/templates", "reports/baselines", "reports/published")
# of a library that is declared: sentence-transformers' extra brings datasets
BROUGHT = {"datasets"}


def imported() -> dict[str, set[str]]:
    """Every third-party package that a file imports, wherever in it."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [a.name for a in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in names:
                top = name.split(".")[0]
                if top != "hengyu" and top not in sys.stdlib_module_names:
                    found.setdefault(top, set()).add(path.name)
    return found


def test_every_import_is_declared() -> None:
    extras = [r for name, rs in PROJECT["optional-dependencies"].items() if name != "dev" for r in rs]
    declared = {Requirement(r).name.lower().replace("-", "_") for r in [*PROJECT["dependencies"], *extras]}
    for name, files in imported().items():
        own = DISTRIBUTIONS.get(name, name).lower().replace("-", "_")
        assert own in declared or name in BROUGHT, f"{name}, imported in {sorted(files)}"


def test_versions_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert PROJECT["dynamic"] == ["version"]  # which is read from __init__.py
    assert hengyu.__version__ == str(citation["version"])
    assert citation["license"] == PROJECT["license"]
    assert {"cff-version", "title", "message", "authors", "type"} <= set(citation)


def test_a_wheel_carries_what_the_repository_has_and_no_data_of_others(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, _HOOKS, SimpleNamespace(BuildHookInterface=object))
        build = SourceFileLoader("hatch_build", str(ROOT / "hatch_build.py")).load_module()
    carried = set(build.shared(ROOT))
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", *_SHARED], capture_output=True, text=True, check=False)
    if listed.returncode == 0:  # a clone, and no sdist
        assert set(listed.stdout.split("\n")) - {""} <= carried
    for name in ("datasets/mine.toml", "datasets/LCQMC/LCQMC.test.data", "datasets/hengyu-sts/test.tsv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("", encoding="utf-8")
    assert build.shared(tmp_path) == ["datasets/hengyu-sts/test.tsv", "datasets/mine.toml"]


def test_the_module_that_folders_name_stays_where_it_is() -> None:
    from hengyu.encoders.model_folder import STEP
    from hengyu.tools.export_model.steps import Step

    assert f"{Step.__module__}.{Step.__qualname__}" == STEP == "hengyu.tools.export_model.steps.Step"
