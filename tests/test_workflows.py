"""The ready-made CI, held to facts: what it calls exists, and nothing in it runs unpinned or with more rights than needed."""

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from hengyu.cli import main

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONS = sorted((ROOT / ".github" / "actions").glob("*/action.yml"))
HOOKS = [ROOT / ".pre-commit-config.yaml", ROOT / ".pre-commit-hooks.yaml"]
FILES = [*WORKFLOWS, *ACTIONS]
WAITS = "reports/baselines/zh-sts.json"  # the full suite's gate is left out until its baseline is committed


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def step_lists(content: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    if "jobs" in content:
        yield from (job["steps"] for job in content["jobs"].values())
    else:
        yield content["runs"]["steps"]


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for steps in step_lists(read(path)) for step in steps]


def scripts() -> dict[str, str]:
    """Everything that is run, by where it stands."""
    found = {f"{name_of(p)}: {s.get('name', s['run'])}": s["run"] for p in FILES for s in steps(p) if "run" in s}
    hooks = [*read(HOOKS[1]), *(h for repo in read(HOOKS[0])["repos"] for h in repo["hooks"])]
    found |= {f"hook {hook['name']}": hook["entry"] for hook in hooks}
    return found | {".ci/run": (ROOT / ".ci" / "run").read_text(encoding="utf-8")}


SCRIPTS = scripts()


def calls(script: str) -> list[list[str]]:
    """The words of every call of hengyu, up to the end of the command."""
    found = []
    for line in script.splitlines():
        if line.strip().startswith("#"):
            continue
        for call in re.finditer(r"(?:^|[\s/;|&])hengyu ((?:[^;|&#\"]|\"[^\"]*\")+)", line.split(" # ")[0]):
            found.append(shlex.split(call[1]))
    return found


CALLS = sorted({(where, *call) for where, script in SCRIPTS.items() for call in calls(script)})


def test_there_is_something_to_hold() -> None:
    assert WORKFLOWS and ACTIONS
    called = {call[1] for call in CALLS}
    assert {"run", "fetch", "gate", "export", "selfcheck", "validate"} <= called


def find(name: str) -> click.Command:
    command: click.Command = importlib.import_module(f"hengyu.cli.commands.{name}").command
    return command


def options(command: click.Command) -> set[str]:
    return {o for p in command.params for o in (*p.opts, *p.secondary_opts) if o.startswith("-")} | {"--help"}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call[0]}: {' '.join(call[1:3])}")
def test_every_command_and_option_exists(call: tuple[str, ...]) -> None:
    _, name, *words = call
    assert name == "gate" or name in main.list_commands(click.Context(main))
    command = find(name)
    if name == "gate" and words[0].endswith(".json") and words[0] != WAITS:
        assert (ROOT / words[0]).is_file()
    for word in words:
        if word.startswith("-"):
            assert word.partition("=")[0] in options(command), (name, word)
    if any("$" in word for word in words if not word.startswith(">")):
        return  # what stands in a variable is known at run time only
    for parameter in command.params:
        if isinstance(parameter, click.Option) and isinstance(parameter.type, click.Choice):
            for option in set(parameter.opts) & set(words):
                assert words[words.index(option) + 1] in parameter.type.choices


def test_options_put_together_in_an_array_exist() -> None:
    (evaluate,) = (s for w, s in SCRIPTS.items() if w.endswith("action.yml: Evaluate"))
    gathered = set(re.findall(r"words\+=\((--[a-z-]+) ", evaluate))
    assert gathered == {"--encoder", "--data", "--datasets"}
    assert gathered <= options(find("run"))


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z]+) \?=", makefile, re.MULTILINE))
    called: set[str] = set()
    for script in SCRIPTS.values():
        for line in script.splitlines():
            for words in re.findall(r"(?:^|[;|&]\s*)make ([^;|&#]+)", line.strip()):
                for word in words.split():
                    if "=" in word:
                        assert word.partition("=")[0] in variables, word
                    else:
                        called.add(word)
    assert {"setup", "bench", "data", "perf", "lint", "test"} <= called <= targets


FINE = {"name": "numpy", "version": "2.0", "vulns": []}
FLAWED = {"name": "numpy", "version": "2.0", "vulns": [{"id": "CVE-1", "fix_versions": ["2.1"]}]}
UNKNOWN = {"name": "scipy", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("found", "codes", "said"),
    [
        ([FINE, {**FINE, "name": "scipy"}], (0, 0), "2 dependencies looked up, 0 with known vulnerabilities"),
        ([FLAWED, FINE], (1, 1), "numpy 2.0: CVE-1, mended in 2.1"),
        ([UNKNOWN, UNKNOWN], (0, 1), "SKIPPED: known vulnerabilities; nothing could be looked up from here"),
        ([FINE, UNKNOWN], (1, 1), "scipy: could not be looked up"),
        (None, (0, 1), "SKIPPED: .*the line is dead"),
    ],
)
def test_an_audit_is_never_green_without_having_looked(
    tmp_path: Path, found: list[Any] | None, codes: tuple[int, int], said: str
) -> None:
    stub = tmp_path / "pip-audit"
    answer = "echo 'the line is dead' >&2; exit 1" if found is None else f"cat {tmp_path / 'answer'}"
    (tmp_path / "answer").write_text(json.dumps({"dependencies": found}))
    stub.write_text(f"#!/bin/sh\n{answer}\n")
    stub.chmod(0o755)
    for more, code in zip(([], ["--strict"]), codes, strict=True):
        words = [sys.executable, "-P", str(ROOT / ".ci" / "audit.py"), *more]
        done = subprocess.run(words, env={**os.environ, "PIP_AUDIT": str(stub)}, capture_output=True, text=True)
        assert done.returncode == code and re.search(said, done.stdout), done.stdout + done.stderr
        assert "SKIPPED" not in done.stdout or done.stdout.count("\n") == 1


def test_the_audit_and_the_soak_are_in_ci() -> None:
    assert "make audit" in SCRIPTS[".ci/run"]
    weekly = [script for where, script in SCRIPTS.items() if where.startswith(".github/workflows/ci.yml")]
    assert "make audit AUDIT=--strict" in weekly and "make soak" in weekly


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_action_is_pinned_to_a_commit_with_its_version(path: Path) -> None:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if re.match(r"\s*(- )?uses:", line)]
    assert len(lines) == sum("uses" in s for s in steps(path)) > 0
    for line in lines:
        assert re.search(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


def test_the_same_action_is_pinned_to_the_same_commit_everywhere() -> None:
    pins = {tuple(s["uses"].split("@")) for p in FILES for s in steps(p) if "uses" in s}
    assert len({name for name, _ in pins}) == len(pins)


@pytest.mark.parametrize("path", WORKFLOWS, ids=name_of)
def test_workflows_have_few_rights_and_an_end(path: Path) -> None:
    content = read(path)
    assert content["permissions"] == {"contents": "read"}
    assert content["concurrency"]["group"]
    triggers = content[True]  # YAML 1.1 reads the key `on` as true
    assert "pull_request_target" not in triggers
    for job in content["jobs"].values():
        more = set(job.get("permissions", {}).items()) - {("contents", "read")}
        assert more <= {("id-token", "write"), ("pages", "write")} and (not more or path.name == "release.yml")
        assert 0 < job["timeout-minutes"] <= 180
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_from_outside_is_pasted_into_a_script(path: Path) -> None:
    for step in steps(path):
        assert "${{" not in step.get("run", ""), step


def test_what_the_workflow_names_is_there() -> None:
    text = "\n".join(p.read_text(encoding="utf-8") for p in WORKFLOWS)
    patterns = {p for call in re.findall(r"hashFiles\(([^)]*)\)", text) for p in re.findall(r"'([^']+)'", call)}
    assert len(patterns) >= 6
    for pattern in patterns - {WAITS}:
        assert list(ROOT.glob(pattern)), pattern
    for suite in re.findall(r"SUITE=(\S+)", text):
        assert (ROOT / suite).is_file()
    for model in re.findall(r"hengyu selfcheck (\S+)", text):
        assert model == "hengyu-mini"


@pytest.mark.parametrize("path", ACTIONS, ids=name_of)
def test_an_actions_inputs_are_declared_described_and_used(path: Path) -> None:
    content = read(path)
    used = set(re.findall(r"inputs\.([\w-]+)", path.read_text(encoding="utf-8")))
    assert used == set(content["inputs"])
    assert all(i["description"].strip() and "default" in i for i in content["inputs"].values())
    ids = {s["id"] for s in content["runs"]["steps"] if "id" in s}
    assert set(re.findall(r"steps\.([\w-]+)\.", path.read_text(encoding="utf-8"))) == ids
    assert all("shell" in s for s in content["runs"]["steps"] if "run" in s)


def test_the_action_hands_its_inputs_on_whole(tmp_path: Path) -> None:
    """The script of its step Evaluate, with a hengyu that prints its words."""
    (evaluate,) = (s for w, s in SCRIPTS.items() if w.endswith("action.yml: Evaluate"))
    stub = tmp_path / "bin" / "hengyu"
    stub.parent.mkdir()
    stub.write_text('#!/bin/sh\nfor word in "$@"; do printf "<%s>" "$word"; done; echo\n')
    stub.chmod(0o755)

    def said(**inputs: str) -> list[str]:
        empty = dict.fromkeys(("ENCODERS", "DATA", "DATASETS", "FETCH"), "")
        path = f"{stub.parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", evaluate],
            env={"PATH": path, "SUITE": "smoke", **empty, **inputs},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    assert said() == ["<run><smoke>"]
    assert said(ENCODERS="my model\n$(touch gone)\n", DATA="a b") == [
        "<run><smoke><--encoder><my model><--encoder><$(touch gone)><--data><a b>"
    ]
    assert said(FETCH="LCQMC\nBQ", DATASETS="cards") == ["<fetch><LCQMC><BQ>", "<run><smoke><--datasets><cards>"]


@pytest.mark.parametrize("where", SCRIPTS)
def test_every_script_is_bash(where: str) -> None:
    done = subprocess.run(["bash", "-n"], input=SCRIPTS[where], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_hooks_run_what_the_project_runs() -> None:
    pinned = re.search(r"^ruff==(.*)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned is not None
    local = [hook for repo in read(HOOKS[0])["repos"] for hook in repo["hooks"]]
    assert {d for h in local for d in h.get("additional_dependencies", [])} == {f"ruff=={pinned[1]}"}
    for hook in (*local, *read(HOOKS[1])):
        assert {"id", "name", "entry", "language"} <= set(hook)
    patterns = [re.compile(h["files"]) for h in (*local, *read(HOOKS[1])) if "files" in h]
    ours = [name_of(p) for folder in ("suites", "datasets") for p in (ROOT / folder).glob("*.toml")]
    assert all(any(p.search(name) for p in patterns) for name in ours)
    assert not any(p.search("pyproject.toml") for p in patterns)
