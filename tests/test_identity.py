"""Cache keys: every input of a number changes the key it belongs to, and nothing else does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, make_dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.words import sentences
from safetensors.numpy import load_file, save_file

import hengyu
from hengyu.base.errors import HengyuError
from hengyu.bench.observe import every_key
from hengyu.bench.prepared_encoder import PreparedEncoder, prepare_encoder
from hengyu.bench.run import refuse_other_plan, run_key_of
from hengyu.cards import load_cards
from hengyu.cards.data import Pairs, load_pairs, unlike
from hengyu.encoders import EncoderSpec, find_encoder
from hengyu.methods import find_method, home_of, method_names
from hengyu.methods.grammar import parse_entry
from hengyu.storage import identity
from hengyu.storage.code_graph import NOT_FOLLOWED, Code, library_version
from hengyu.storage.identity import (
    array_digest,
    cell,
    digest,
    fit_key,
    made_by,
    parts_of,
    step_key,
    text_digest,
    tuned_key,
    vectors_key,
)
from hengyu.storage.records import Record, cell_key, load_run, save_records, write_json
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite

PACKAGE = Path(hengyu.__file__).parent


# --- content -------------------------------------------------------------------------------------------------------


def test_a_digest_follows_content_and_not_layout() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": (1, 2), "a": 1})
    assert len({digest(x) for x in ({"a": 1}, {"a": 1.0}, {"a": True}, {"a": "1"}, {"a": None}, {"a": [1]}, {})}) == 7
    for wrong, error in (({1: 2}, TypeError), ({"a": [{2: 3}]}, TypeError), ({"a": float("nan")}, ValueError)):
        with pytest.raises(error):
            digest(wrong)


def test_texts_are_told_apart_from_their_joins() -> None:
    many = [
        ("ab",),
        ("a", "b"),
        ("b", "a"),
        ("a\nb",),
        ("a", "", "b"),
        ("1 1 a",),
        ("a", "1 b"),
        (),
        ("",),
        ("\ud800",),
    ]
    assert len({text_digest(texts) for texts in many}) == len(many)
    assert text_digest(["a", "b"]) == text_digest(["a", "b"], [1, 1]) != text_digest(["a", "b"], [1, 2])
    assert text_digest(["5\t3"], [1]) != text_digest(["3"], [5])
    x = np.arange(6.0)
    arrays = [(x,), (x.reshape(2, 3),), (x.astype(np.float32),), (x[:3], x[3:]), (x[::-1],)]
    assert len({array_digest(*a) for a in arrays}) == len(arrays)


@pytest.mark.parametrize("name", ["a | seed 3", '"]', "a,b", "[]", "  ", "文\\"])
def test_cells_of_any_names_are_told_apart_and_read_back(name: str, tmp_path: Path) -> None:
    parts = ("cell", "t", name, "mean", "raw", "none", None)
    assert parts_of(cell(*parts)) == parts
    assert len({cell(name, "b"), cell(name + " | b"), cell("b", name), cell(name, "b", None)}) == 4
    assert (
        parts_of("a | b") == parts_of("{}") == parts_of('[["a"]]') == parts_of("[1.5]") == parts_of("[" * 10**5) == ()
    )
    number = {**dict.fromkeys((f.name for f in fields(Record)), None), "sweep": False, "draw": False}
    words = {f.name: "" for f in fields(Record) if f.type == "str"} | {"n": 2, "seed": 0, "threshold_on": ""}
    one = {"encoder": name, "task": "t", "pooling": "mean", "entry": "raw", "fit_on": "none", "metric": "spearman"}
    records = [Record(**{**number, **words, **one, "encoder": e}) for e in (name, f"{name} | seed 3", "a")]
    save_records(tmp_path, records)
    write_json(tmp_path / "run.json", {"schema": 1, "run": "r"})
    seconds = {cell_key("t", r.row, seed): i + 1.0 for i, r in enumerate(records) for seed in (None, 3)}
    write_json(tmp_path / "timings.json", {"seconds": seconds})
    assert [r.seconds for r in load_run(tmp_path).records] == [2.0, 4.0, 6.0]


# --- code ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package's code, to edit."""
    root = tmp_path_factory.mktemp("tree") / "hengyu"
    shutil.copytree(PACKAGE, root, ignore=shutil.ignore_patterns("__pycache__", "builtin"))
    return root


@dataclass
class Edited:
    """The code of a tree before and after files are edited; the files are put back afterwards."""

    root: Path
    before: Code
    texts: dict[Path, str]

    def edit(self, name: str, change: Callable[[str], str]) -> Code:
        """Edit a file and return the code as a new process reads it."""
        path = self.root / name
        text = self.texts.setdefault(path, path.read_text(encoding="utf-8"))
        assert change(text) != text
        path.write_text(change(text), encoding="utf-8")
        after = Code(self.root)
        after._sources.update({p: s for p, s in self.before._sources.items() if p != path})
        return after


@pytest.fixture
def code(tree: Path) -> Iterator[Edited]:
    made = Edited(tree, _code(tree), {})
    yield made
    for path, text in made.texts.items():
        path.write_text(text, encoding="utf-8")


@cache
def _code(tree: Path) -> Code:
    code = Code(tree)
    code.reached(
        *map(home_of, method_names()), *WHOLE.values(), TRAINING, "hengyu.bench.run"
    )  # all files, before any edit
    return code


def file_of(method: str) -> str:
    return home_of(method).removeprefix("hengyu.").replace(".", "/") + ".py"


def of(code: Code, *modules: str) -> dict[str, str]:
    return code.reached(*modules)[0]


WHOLE = {
    "sts": "hengyu.tasks.pairs.vectors",
    "retrieval": "hengyu.tasks.search.vectors",
    "vectors": "hengyu.encoders.huggingface",
}
TRAINING = "hengyu.methods.training.model"


@pytest.mark.parametrize("method", method_names())
def test_the_source_of_a_method_is_in_its_own_key_and_in_no_other(method: str, code: Edited) -> None:
    after = code.edit(file_of(method), lambda text: text + "\n_CHANGED = 1\n")
    changed = {m for m in method_names() if of(after, home_of(m)) != of(code.before, home_of(m))}
    importing = {m for m in method_names() if home_of(method) in of(code.before, home_of(m))}
    assert method in changed == importing
    assert len(changed) <= 2, changed
    for module in (*WHOLE.values(), TRAINING):
        assert of(after, module) == of(code.before, module)


@pytest.mark.parametrize(
    ("file", "reached_by", "untouched"),
    [
        ("numerics/moments.py", ["whitening", "pca", "flow", "sts"], ["jl", "vectors"]),
        ("methods/flows/glow.py", ["flow", "linear-flow"], ["whitening", "itq", "sts", "vectors"]),
        ("methods/flows/training.py", ["flow", "linear-flow"], ["itq", "sts"]),
        ("numerics/similarity.py", ["sts"], ["whitening", "vectors"]),
        ("numerics/cloud_sample.py", ["sts", "retrieval"], ["whitening", "vectors"]),
        ("methods/training/losses.py", ["simcse"], ["whitening", "sts", "vectors"]),
        ("methods/training/loop.py", ["simcse", "tsdae"], ["whitening", "vectors"]),
        ("encoders/pooling.py", ["vectors", "simcse"], ["whitening", "sts"]),
        ("encoders/tokenizer.py", ["vectors"], ["whitening", "sts"]),
        ("methods/search/base.py", ["hnsw", "ivf", "flat"], ["simhash", "sts"]),
        ("methods/search/exact.py", ["retrieval"], ["whitening", "sts"]),
        ("methods/pipeline.py", ["sts", "retrieval"], ["whitening", "vectors"]),
        ("report/page/page.py", [], ["vectors", "sts", "retrieval", "whitening", "simcse"]),
        ("base/escapes.py", [], ["vectors", "sts", "retrieval", "simcse"]),
        ("base/progress.py", [], ["vectors", "sts", "retrieval", "simcse"]),
        ("cli/commands/run.py", [], ["vectors", "sts", "retrieval", "simcse"]),
    ],
)
def test_what_a_module_imports_is_in_its_key(
    file: str, reached_by: list[str], untouched: list[str], code: Edited
) -> None:
    after = code.edit(file, lambda text: text + "\n_CHANGED = 1\n")
    for names, same in ((reached_by, False), (untouched, True)):
        for name in names:
            module = WHOLE.get(name) or home_of(name)
            assert (of(after, module) == of(code.before, module)) is same, name


def test_numbers_are_derived_by_code_that_is_in_the_key_of_a_run(code: Edited) -> None:
    from hengyu.bench import run as bench

    roots, within = bench.DERIVED_BY, bench.DERIVED_IN
    for file in (
        "numerics/metrics.py",
        "numerics/bootstrap.py",
        "numerics/resampling.py",
        "evaluation/rank_intervals.py",
    ):
        after = code.edit(file, lambda text: text + "\n_CHANGED = 1\n")
        assert after.reached(*roots, within=within)[0] != code.before.reached(*roots, within=within)[0], file


def prose(text: str) -> str:
    """Change comments, docstrings and layout."""
    lines = [line + "  # said otherwise" if line.startswith("from ") else line for line in text.split("\n")]
    return "\n\n# a comment\n".join("\n".join(lines).replace('"""', '"""More. ', 1).split("\n\n")) + "\n\n"


@pytest.mark.parametrize(
    "file",
    ["methods/transforms/whitening.py", "methods/transforms/flow.py", "numerics/moments.py", "encoders/pooling.py"],
)
def test_comments_docstrings_and_layout_are_in_no_key(file: str, code: Edited) -> None:
    after = code.edit(file, prose)
    for module in ("hengyu.methods.transforms.whitening", "hengyu.methods.transforms.flow", *WHOLE.values()):
        assert of(after, module) == of(code.before, module)


def test_the_graph_holds_all_that_an_import_loads() -> None:
    """Modules that are really imported are an oracle for those read off the source."""
    roots = [
        "hengyu.methods.transforms.flow",
        "hengyu.methods.tuners.simcse",
        "hengyu.tasks.pairs.vectors",
        "hengyu.encoders.huggingface",
    ]
    words = "import sys, importlib; importlib.import_module(sys.argv[1]); print(*[m for m in sys.modules if m[:7] == 'hengyu.'])"
    for root in roots:
        done = subprocess.run([sys.executable, "-c", words, root], capture_output=True, text=True, check=True)
        packages = {
            f"hengyu.{p.relative_to(PACKAGE).parent.as_posix().replace('/', '.')}" for p in PACKAGE.rglob("__init__.py")
        }
        silent = tuple(f"hengyu.{name}" for name in NOT_FOLLOWED)
        loaded = {m for m in done.stdout.split() if m not in packages and not m.startswith(silent)}
        above = (m.split(".")[:depth] for m in loaded for depth in range(2, m.count(".") + 1))
        around = set(map(".".join, above))  # packages, which are loaded and not asked for
        hidden = {m for m in done.stdout.split() if m.startswith(silent)}
        assert loaded <= set(of(identity.CODE, root, *around, *hidden)), root


def test_a_method_from_outside_counts_with_what_it_imports_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "parts").mkdir()
    files = {
        "outside.py": "from outside_helper import twice\nfrom parts import more\nimport json\n\n"
        "from dataclasses import dataclass\n\n\n@dataclass\nclass Outside:\n    size: int = 2\n\n"
        "    def late(self):\n        import outside_late\n        return outside_late\n",
        "outside_helper.py": "from hengyu.numerics.moments import Moments\n\n\ndef twice(x):\n    return 2 * x\n",
        "outside_late.py": "VALUE = 1\n",
        "outside_other.py": "VALUE = 1\n",
        "parts/__init__.py": "",
        "parts/more.py": "from . import deep\nfrom .deep import VALUE\n",
        "parts/deep.py": "VALUE = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    import outside  # type: ignore[import-not-found]

    def key() -> dict[str, Any]:
        monkeypatch.setattr(identity, "CODE", Code())
        identity._made_by.cache_clear()
        return step_key("outside", outside.Outside(), outside.__name__)

    try:
        first = key()
        assert first["parameters"] == {"size": 2}
        assert "scipy" in first["libraries"]  # of the moments that the helper imports
        for name in files:
            if name != "parts/__init__.py":
                (tmp_path / name).write_text(files[name] + "# a comment\n", encoding="utf-8")
                assert key() == first
                (tmp_path / name).write_text(files[name] + "VALUE = 2\n", encoding="utf-8")
                assert (key() == first) is (name == "outside_other.py"), name
                (tmp_path / name).write_text(files[name], encoding="utf-8")
        assert key() == first
    finally:
        for name in [m for m in sys.modules if m.partition(".")[0] in ("outside", "outside_helper", "parts")]:
            del sys.modules[name]
        identity._made_by.cache_clear()


def test_code_that_cannot_be_read_is_never_the_same_twice() -> None:
    method = make_dataclass("Typed", [("size", int, 1)])
    method.__module__ = "typed_in"
    assert step_key("typed", method(), "typed_in")["libraries"].keys() > {"python"}
    assert Code().reached("typed_in") != Code().reached("typed_in")


def test_an_installed_module_counts_with_its_own_file_and_the_version_of_its_library() -> None:
    modules, libraries = Code().reached("sklearn.decomposition._pca")
    assert list(modules) == ["sklearn.decomposition._pca"]
    assert {"sklearn", "numpy", "scipy"} <= libraries


def test_a_library_that_is_not_installed_is_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "optional_one.py").write_text("def f():\n    import not_installed_anywhere.deep\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    first, second = (Code().reached("optional_one") for _ in range(2))
    assert first == second and first[1] == {"not_installed_anywhere"}


def test_library_versions_are_in_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"numpy", "scipy", "python"} <= made_by("hengyu.methods.transforms.whitening")["libraries"].keys()
    assert "faiss" in made_by("hengyu.methods.indexes.hnsw")["libraries"]
    assert {"torch", "transformers", "tokenizers"} <= made_by(WHOLE["vectors"])["libraries"].keys()
    assert "torch" in made_by("hengyu.methods.transforms.flow")["libraries"]
    assert "torch" not in made_by("hengyu.methods.transforms.whitening")["libraries"]
    for word, library in (("onnx", "onnxruntime"), ("openvino", "openvino"), ("jieba", "jieba")):
        assert library not in made_by(WHOLE["vectors"])["libraries"]
        assert library in made_by(WHOLE["vectors"], settings=word)["libraries"]
    assert library_version("yaml") == version("PyYAML")  # imported by another name than it is installed by
    assert library_version("not_installed_anywhere") == ""
    before = made_by("hengyu.methods.transforms.whitening")
    monkeypatch.setattr(identity, "library_version", lambda name: "9.9" if name == "scipy" else "1")
    identity._made_by.cache_clear()
    try:
        assert (
            made_by("hengyu.methods.transforms.whitening")["libraries"]["scipy"]
            == "9.9"
            != before["libraries"]["scipy"]
        )
    finally:
        identity._made_by.cache_clear()


def test_the_code_of_a_run_is_read_quickly() -> None:
    started = time.process_time()
    code = Code()
    for module in (*WHOLE.values(), *map(home_of, method_names())):
        code.reached(module)
    assert time.process_time() - started < 1.0  # 0.2 s on a quiet machine, once in a process


# --- steps ---------------------------------------------------------------------------------------------------------


def methods() -> Iterator[tuple[str, Any]]:
    """Every method as an object, with the parameters that it must be given."""
    for name in method_names():
        given = [f for f in fields(find_method(name)) if f.init]
        needed = {f.name: 4 for f in given if "MISSING" in repr(f.default)}
        models = {f.name: "m" for f in given if f.name in find_method(name).models and not f.default}
        yield name, find_method(name)(**needed, **models)


def other_value(value: Any) -> Any:
    return not value if isinstance(value, bool) else f"{value}x" if isinstance(value, str) else (value or 0) + 1


def test_every_parameter_and_default_of_every_method_is_in_its_key() -> None:
    seen = 0
    for name, method in methods():
        home = home_of(name)
        key = step_key(name, method, home)
        names = [f.name for f in fields(method) if f.init]
        assert list(key["parameters"]) == names
        for parameter in names:  # as a default of another value leaves it
            kept = getattr(method, parameter)
            setattr(method, parameter, other_value(kept))
            assert digest(step_key(name, method, home)) != digest(key), (name, parameter)
            setattr(method, parameter, kept)
            seen += 1
        type(method).version, version = 99, getattr(type(method), "version", None)
        assert digest(step_key(name, method, home)) != digest(key)
        if version is None:
            del type(method).version
        else:
            type(method).version = version
        assert digest(step_key(name, method, home)) == digest(key)
    assert seen > 100


def test_a_written_default_is_the_default() -> None:
    assert parse_entry("abtt(top=1)").steps[0].key == parse_entry("abtt").steps[0].key
    keys = [digest(parse_entry(e).steps[0].key) for e in ("abtt", "abtt(top=2)", "pca(dim=2)", "pca(dim=3)", "center")]
    assert len(set(keys)) == len(keys)


def test_a_fit_is_recalled_only_for_the_same_rows_steps_and_vectors() -> None:
    flow, wide, center = (parse_entry(e).steps[0].key for e in ("flow", "flow(width=16)", "center"))
    given: dict[str, Any] = {"vectors": {"f": 1}, "rows": "r", "before": [], "step": flow}
    others = [
        {"vectors": {"f": 2}}, {"rows": "s"}, {"before": [center]}, {"before": [center, center]}, {"step": wide},
        {"step": {**flow, "code": "x"}}, {"step": {**flow, "libraries": {}}}, {"before": [{**center, "code": "x"}]},
    ]  # fmt: skip
    assert len({digest(fit_key(**(given | other))) for other in ({}, *others)}) == len(others) + 1
    trained: dict[str, Any] = {
        "about": {},
        "encoder": {},
        "step": flow,
        "training_data": "l",
        "held": "h",
        "made": {"code": "c"},
    }
    others = [{"encoder": {"f": 1}}, {"step": wide}, {"training_data": "m"}, {"held": ""}, {"made": {"code": "d"}}]
    assert len({digest(tuned_key(**(trained | other))) for other in ({}, *others)}) == len(others) + 1


# --- everything that a run depends on, one input after the other ---------------------------------------------------

SUITE = """
name = "suite"
tasks = ["task:test"]
fit_on = "other:test"
encoders = [{ model = "%s", name = "model" }]
poolings = ["mean"]
baselines = ["char-mean"]
resamples = 20
entries = ["raw", "whitening(dim=4)", "itq(bits=4)", { entry = "flow(steps=3)", fit_on = "target" }, "simcse(sentences=8)"]
"""
CARD = """
name = "%s"
columns = { sentence1 = "a", sentence2 = "b", label = "y" }
labels = { scale = [0, 1], kind = "binary" }
[splits.test]
file = "%s.test.tsv"
[splits.valid]
file = "%s.valid.tsv"
"""
ENTRIES = ("raw", "whitening(dim=4)", "itq(bits=4)", "flow(steps=3)", "simcse(sentences=8)", "char-mean")
FITTED = set(ENTRIES[1:3]) | {ENTRIES[4]}  # on the other card
OF_MODEL = set(ENTRIES) - {"char-mean"}


@pytest.fixture
def folder(tmp_path: Path, tiny_bert: Path) -> Path:
    """Two cards of our own with two splits each, a suite that fits on the second, and a model."""
    rng = np.random.default_rng(5)
    for name in ("task", "other"):
        for split, n in (("test", 40), ("valid", 20)):
            pairs = sentences(rng, 2 * n)
            rows = [
                f"{a}\t{b}\t{int(y > 2)}\t{c}\t{d}" for (a, b, y), (c, d, _) in zip(pairs[:n], pairs[n:], strict=True)
            ]
            (tmp_path / f"{name}.{split}.tsv").write_text("\n".join(["a\tb\ty\tc\td", *rows]) + "\n", encoding="utf-8")
        (tmp_path / f"{name}.toml").write_text(CARD % (name, name, name), encoding="utf-8")
    shutil.copytree(tiny_bert, tmp_path / "model")
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "suite.toml").write_text(SUITE % (tmp_path / "model"), encoding="utf-8")
    return tmp_path


@dataclass(frozen=True)
class Keys:
    """The keys of a suite: of the run, of its cells by entry, of the vectors."""

    run: str
    cells: dict[str, str]
    vectors: str


def keys_of(folder: Path, *, named: bool = True, **encoder: Any) -> Keys:
    suite = load_suite(folder / "suite" / "suite.toml")
    specs = tuple(replace(e, **encoder) for e in suite.encoders)
    plan = make_plan(replace(suite, encoders=specs), datasets=[folder])
    jobs: list[PreparedEncoder] = [prepare_encoder(plan, find_encoder(spec)) for spec in plan.suite.encoders]
    found = {k["entry"] if k["pooling"] != "-" else k["encoder"]: digest(k) for k in every_key(plan, jobs)}
    vectors = digest([vectors_key(j.encoder, pooling) for j in jobs for pooling in j.poolings])
    return Keys(run_key_of(plan, jobs), found, vectors)


def written(name: str, old: str, new: str, count: int = 1) -> Callable[[Path], dict[str, Any]]:
    """Replace text in a file of the folder."""

    def change(folder: Path) -> dict[str, Any]:
        path = folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text, (name, old)
        path.write_text(text.replace(old, new, count), encoding="utf-8")
        return {}

    return change


def rows(name: str, change: Callable[[list[list[str]]], list[list[str]]]) -> Callable[[Path], dict[str, Any]]:
    """Change the rows of a data file."""

    def changed(folder: Path) -> dict[str, Any]:
        path = folder / name
        head, *lines = path.read_text(encoding="utf-8").splitlines()
        new = change([line.split("\t") for line in lines])
        path.write_text("\n".join([head, *("\t".join(r) for r in new)]) + "\n", encoding="utf-8")
        return {}

    return changed


def encoder(**settings: Any) -> Callable[[Path], dict[str, Any]]:
    return lambda folder: settings


def weights(folder: Path) -> dict[str, Any]:
    path = folder / "model" / "model.safetensors"
    tensors = load_file(path)
    name = sorted(tensors)[0]
    tensors[name] = tensors[name] + np.float32(0.25)
    save_file(tensors, path, metadata={"format": "pt"})
    return {}


def modules(folder: Path) -> dict[str, Any]:
    """Give the model sentence-transformers modules."""
    kind = "sentence_transformers.models"
    listed = [
        {"idx": i, "name": str(i), "path": p, "type": f"{kind}.{t}"}
        for i, p, t in ((0, "", "Transformer"), (1, "1_Pooling", "Pooling"))
    ]
    (folder / "model" / "modules.json").write_text(json.dumps(listed), encoding="utf-8")
    (folder / "model" / "1_Pooling").mkdir()
    about = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}
    (folder / "model" / "1_Pooling" / "config.json").write_text(json.dumps(about), encoding="utf-8")
    return {}


def swapped(found: list[list[str]], column: int) -> list[list[str]]:
    first, second, *rest = found
    first[column], second[column] = second[column], first[column]
    return [first, second, *rest]


def relabelled(found: list[list[str]]) -> list[list[str]]:
    return [[a, b, str(1 - int(y)), *rest] if i < 3 else [a, b, y, *rest] for i, (a, b, y, *rest) in enumerate(found)]


ALL, NONE = set(ENTRIES), set()
SUITE_FILE = "suite/suite.toml"
INPUTS: dict[str, tuple[Callable[[Path], dict[str, Any]], set[str]]] = {
    # of the task: text, label, count, order, what the card makes of the file
    "text": (rows("task.test.tsv", lambda r: [["另一句话", *r[0][1:]], *r[1:]]), ALL),
    "text of the second column": (rows("task.test.tsv", lambda r: [[r[0][0], "另一句话", *r[0][2:]], *r[1:]]), ALL),
    "text moved to another pair": (rows("task.test.tsv", lambda r: swapped(r, 1)), ALL),
    "label": (rows("task.test.tsv", relabelled), ALL),
    "count": (rows("task.test.tsv", lambda r: [r[0], *r]), ALL),
    "order": (rows("task.test.tsv", lambda r: r[::-1]), ALL),
    "one pair less": (rows("task.test.tsv", lambda r: r[1:]), ALL),
    "columns": (written("task.toml", '"a", sentence2 = "b"', '"c", sentence2 = "d"'), ALL),
    "kind and scale": (written("task.toml", 'scale = [0, 1], kind = "binary"', "scale = [0, 5]"), ALL),
    "split": (written(SUITE_FILE, '"task:test"', '"task:valid"'), ALL),
    # of the split that thresholds are chosen on
    "threshold text": (rows("task.valid.tsv", lambda r: [["另一句话", *r[0][1:]], *r[1:]]), ALL),
    "threshold label": (rows("task.valid.tsv", relabelled), ALL),
    # of what is fitted on
    "fitted text": (rows("other.test.tsv", lambda r: [["另一句话", *r[0][1:]], *r[1:]]), FITTED),
    "fitted count": (rows("other.test.tsv", lambda r: [r[0], *r]), FITTED),
    "fitted order": (rows("other.test.tsv", lambda r: r[::-1]), FITTED),
    "fitted label": (rows("other.test.tsv", relabelled), {"simcse(sentences=8)"}),
    "fitted columns": (written("other.toml", '"a", sentence2 = "b"', '"c", sentence2 = "d"'), FITTED),
    "fitted split": (written(SUITE_FILE, '"other:test"', '"other:valid"'), FITTED),
    "fitted once each": (written(SUITE_FILE, '"other:test"', '"other:test-distinct"'), FITTED),
    # of the encoder
    "pooling": (written(SUITE_FILE, '["mean"]', '["cls"]'), OF_MODEL),
    "prompt": (encoder(prompt="句子："), OF_MODEL),
    "max length": (encoder(max_length=16), OF_MODEL),
    "long texts": (encoder(long="windows"), OF_MODEL),
    "long texts of a card": (written("task.toml", 'name = "task"', 'name = "task"\nlong = "head-tail"'), OF_MODEL),
    "dtype": (encoder(dtype="bfloat16"), OF_MODEL),
    "backend": (encoder(backend="onnx"), OF_MODEL),
    "pre-tokenizer": (encoder(pre_tokenizer="jieba"), OF_MODEL),
    "trusted code": (encoder(trust_remote_code=True), OF_MODEL),
    "weights": (weights, OF_MODEL),
    "tokenizer": (written("model/tokenizer.json", '"天"', '"甲乙"'), OF_MODEL),
    "config": (written("model/config.json", '"gelu"', '"relu"'), OF_MODEL),
    "module config": (modules, OF_MODEL),
    # of the steps
    "parameter": (written(SUITE_FILE, "flow(steps=3)", "flow(steps=3, lr=0.01)"), {"flow(steps=3)"}),
    # of the numbers that are derived
    "seed": (written(SUITE_FILE, "resamples = 20", "resamples = 20\nseed = 1"), OF_MODEL),
    "resamples": (written(SUITE_FILE, "resamples = 20", "resamples = 21"), NONE),
    "level": (written(SUITE_FILE, "resamples = 20", "resamples = 20\nlevel = 0.9"), NONE),
    "aggregate": (written(SUITE_FILE, "resamples = 20", 'resamples = 20\naggregate = "avg"'), NONE),
    "compare": (written(SUITE_FILE, "resamples = 20", 'resamples = 20\ncompare = [["raw", "whitening(dim=4)"]]'), NONE),
    "baselines": (written(SUITE_FILE, '["char-mean"]', '["char-mean", "random"]'), NONE),
    "entries": (written(SUITE_FILE, '["raw", ', '["raw", "center", '), NONE),
}


@pytest.mark.parametrize("what", INPUTS)
def test_every_input_changes_the_key_of_what_depends_on_it(what: str, folder: Path) -> None:
    change, wanted = INPUTS[what]
    before = keys_of(folder)
    assert set(before.cells) == ALL and len(set(before.cells.values())) == len(ALL)
    after = keys_of(folder, **change(folder))
    assert after.run != before.run
    assert {e for e in ENTRIES if after.cells.get(e) != before.cells[e]} == wanted
    of_encoder = list(INPUTS).index("pooling") <= list(INPUTS).index(what) <= list(INPUTS).index("module config")
    assert (after.vectors != before.vectors) is of_encoder


UNCHANGING: dict[str, Callable[[Path], dict[str, Any]]] = {
    "nothing": encoder(),
    "prose of a card": written("task.toml", 'name = "task"', 'name = "task"\ntitle = "Another"\nlicence = "CC0-1.0"'),
    "prose of a suite": written(SUITE_FILE, 'name = "suite"', 'name = "suite"\ntitle = "Another"'),
    "line ends of a file": lambda f: (
        [p.write_bytes(p.read_bytes().replace(b"\n", b"\r\n")) for p in f.glob("*.tsv")] and {}
    ),
    "columns that are not read": rows("other.test.tsv", lambda r: [[*x[:3], "x", "y"] for x in r]),
    "device": encoder(device="cpu"),
    "a moved model": lambda f: {"model": str((f / "model").rename(f / "moved"))},
    "a task more": written(SUITE_FILE, '["task:test"]', '["other:valid", "task:test"]'),
}


@pytest.mark.parametrize("what", UNCHANGING)
def test_what_no_number_depends_on_changes_no_key(what: str, folder: Path) -> None:
    before = keys_of(folder)
    after = keys_of(folder, **UNCHANGING[what](folder))
    if what == "a task more":  # of which the cells of the other know nothing
        assert after.run != before.run
        return
    assert after == before


def test_cells_do_not_depend_on_what_else_the_suite_holds(folder: Path) -> None:
    def cells() -> set[str]:
        plan = make_plan(load_suite(folder / "suite" / "suite.toml"), datasets=[folder])
        jobs = [prepare_encoder(plan, find_encoder(spec)) for spec in plan.suite.encoders]
        return {digest(k) for k in every_key(plan, jobs) if k["task"] == "task:test"}

    alone = cells()
    rows("other.valid.tsv", lambda r: r)(folder)
    shared = (folder / "task.test.tsv").read_text(encoding="utf-8").splitlines()[30:35]
    with (folder / "other.valid.tsv").open("a", encoding="utf-8") as file:
        file.write("\n".join(shared) + "\n")
    written(SUITE_FILE, '["task:test"]', '["other:valid", "task:test"]')(folder)
    assert cells() == alone


def test_a_setting_that_an_identity_forgets_counts_all_the_same() -> None:
    @dataclass(frozen=True)
    class Spec(EncoderSpec):
        dims: int = 0

    class Forgetful:
        spec = Spec("m")
        made_with = ()

        def identity(self) -> dict[str, Any]:
            return {"fingerprint": "f", "prompt": ""}

    one, two = Forgetful(), Forgetful()
    two.spec = replace(one.spec, dims=8)
    assert digest(vectors_key(one, "mean")) != digest(vectors_key(two, "mean"))
    two.spec = replace(one.spec, name="n", device="cuda", model="elsewhere", revision="r")
    assert digest(vectors_key(one, "mean")) == digest(vectors_key(two, "mean")) != digest(vectors_key(one, "cls"))


@pytest.mark.parametrize(
    ("model", "called"),
    [
        ("hengyu-mini", "hengyu-mini"), ("builtin", "hengyu-mini"), ("BAAI/bge-small-zh", "BAAI/bge-small-zh"),
        ("bert-base-chinese", "bert-base-chinese"), ("/models/bge", "bge"), ("./bge", "bge"), ("../a/bge/", "bge"),
        ("~/bge", "bge"), ("a/b/bge", "bge"), ("v.npy", "v"), ("a/v.npy", "v"),
    ],
)  # fmt: skip
def test_a_row_is_called_the_same_in_every_folder(
    model: str, called: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert EncoderSpec(model).display_name == called
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bert-base-chinese").mkdir()
    (tmp_path / "BAAI" / "bge-small-zh").mkdir(parents=True)
    assert EncoderSpec(model).display_name == called


def test_a_folder_of_another_plan_is_refused_in_one_sentence(tmp_path: Path) -> None:
    refuse_other_plan(tmp_path, "a" * 64)
    write_json(tmp_path / "run.json", {"schema": 1, "run": "r", "key": "a" * 64})
    refuse_other_plan(tmp_path, "a" * 64)
    for content in ({"key": "b" * 64}, {}):
        write_json(tmp_path / "run.json", {"schema": 1, "run": "r", **content})
        with pytest.raises(HengyuError, match=r"run\.json: is of another plan .*; move the folder away") as e:
            refuse_other_plan(tmp_path, "a" * 64)
        assert len(e.value.problems) == 1


# --- by hand, with the command: new numbers without any flag -------------------------------------------------------

RUN = """
import json, sys
from pathlib import Path
import hengyu
from hengyu.bench.run import run
from hengyu.storage.fits import FitStore
from hengyu.suites.planning import make_plan
from hengyu.storage.records import load_run
from hengyu.storage.vectors import VectorStore
from hengyu.suites.suite import load_suite
root, reports = Path(sys.argv[1]), Path(sys.argv[2])
assert Path(hengyu.__file__).is_relative_to(root), hengyu.__file__
plan = make_plan(load_suite(root / "suite.toml"), datasets=[root])
done = run(plan, reports=reports, store=VectorStore(reports.parent / "vectors"), fits=FitStore(reports.parent / "fits"))
numbers = {r.entry: r.value for r in load_run(done.folder).records if r.metric == "spearman" and r.task == "task:test"}
print(json.dumps([done.folder.name, done.encoded, done.observed, done.kept, numbers]))
"""
EDITED = {
    "methods/transforms/center.py": ("return x - self.mean", "return x - 3 * self.mean"),
    "methods/transforms/whitening.py": ("gamma: float = 1.0", "gamma: float = 0.3"),
    "methods/codes/itq.py": ("_ROUNDS = 50", "_ROUNDS = 1"),
}
BY_HAND = ("center", "whitening(dim=4)", "pca(dim=4)", "itq(bits=8)", "raw")


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package beside data, vectors and a suite."""
    root = tmp_path_factory.mktemp("by-hand")
    shutil.copytree(PACKAGE, root / "hengyu", ignore=shutil.ignore_patterns("__pycache__", "builtin"))
    rng = np.random.default_rng(3)
    texts: dict[str, None] = {}
    for name in ("task", "other"):
        found = []
        for i in range(40):
            words = [f"{name}{i}{column}" for column in "abcd"]
            texts |= dict.fromkeys(words)
            found.append("\t".join([*words[:2], str(int(rng.integers(6))), *words[2:]]))
        (root / f"{name}.tsv").write_text("\n".join(["a\tb\ty\tc\td", *found]) + "\n", encoding="utf-8")
        (root / f"{name}.toml").write_text(
            f'name = "{name}"\ncolumns = {{ sentence1 = "a", sentence2 = "b", label = "y" }}\nlabels = {{ scale = [0, 5] }}\n'
            f'[splits.test]\nfile = "{name}.tsv"\n',
            encoding="utf-8",
        )
    scale = np.linspace(0.2, 3, 12)
    np.save(root / "v.npy", (rng.normal(size=(len(texts), 12)) * scale + scale).astype(np.float32))
    (root / "v.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    (root / "suite.toml").write_text(
        f'tasks = ["task:test"]\nfit_on = "other:test"\nbaselines = []\nresamples = 20\n'
        f"encoders = [{{ model = '{root / 'v.npy'}' }}]\nentries = {json.dumps(BY_HAND)}\n",
        encoding="utf-8",
    )
    return root


Done = tuple[str, int, int, int, dict[str, float]]


def weigh(root: Path, reports: str = "one/reports") -> Done:
    """Run the suite with the copied code, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(root), "NUMBA_DISABLE_JIT": "1", "HENGYU_CACHE": str(root / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(root), str(root / reports)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    found: Done = tuple(json.loads(done.stdout))
    return found


def test_methods_and_cards_edited_by_hand_give_new_numbers_without_a_flag(by_hand: Path) -> None:
    package = by_hand / "hengyu"
    first = weigh(by_hand)
    assert first[1:4] == (160, 5, 0)
    for name, (old, new) in EDITED.items():
        text = (package / name).read_text(encoding="utf-8")
        assert old in text, name
        (package / name).write_text(text.replace(old, new), encoding="utf-8")
    for name in ("methods/transforms/pca.py", "encoders/precomputed.py", "report/page/page.py"):
        path = package / name
        path.write_text(path.read_text(encoding="utf-8") + "\n# nothing changes\n", encoding="utf-8")
    path = package / "report" / "board" / "board.py"
    path.write_text(path.read_text(encoding="utf-8") + "\n_CHANGED = 1\n", encoding="utf-8")
    second = weigh(by_hand)
    assert second[0] != first[0] and second[1:4] == (0, 3, 2)
    assert {e for e in BY_HAND if second[4][e] != first[4][e]} == {"center", "whitening(dim=4)", "itq(bits=8)"}
    # a card that is only fitted on
    card = by_hand / "other.toml"
    card.write_text(
        card.read_text(encoding="utf-8").replace('"a", sentence2 = "b"', '"c", sentence2 = "d"'), encoding="utf-8"
    )
    third = weigh(by_hand)
    assert third[0] not in (first[0], second[0]) and third[1:4] == (80, 4, 1)
    assert {e for e in BY_HAND if third[4][e] != second[4][e]} == set(BY_HAND) - {"raw"}
    # the same numbers as from nothing, and the same run
    fourth = weigh(by_hand, "two/reports")
    assert fourth[2:4] == (5, 0)
    assert (fourth[0], fourth[4]) == (third[0], third[4])


def test_data_is_told_apart_by_what_is_read_and_not_by_bytes(folder: Path) -> None:
    def pairs() -> Pairs:
        return load_pairs(load_cards([folder])["task"], "test")

    about = {"sha256": pairs().sha256, "digest": pairs().digest}
    assert unlike(pairs(), about, "r") == ""
    UNCHANGING["line ends of a file"](folder)
    assert pairs().sha256 != about["sha256"] and unlike(pairs(), about, "r") == ""
    assert "is not the file that run r read" in unlike(pairs(), {"sha256": about["sha256"]}, "r")
    written("task.toml", '"a", sentence2 = "b"', '"c", sentence2 = "d"')(folder)
    assert "is not the file that run r read" in unlike(pairs(), about, "r")
    about["sha256"] = pairs().sha256
    assert "task.toml: gives texts or labels" in unlike(pairs(), about, "r")
