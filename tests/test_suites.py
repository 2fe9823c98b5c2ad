"""Suites: every mistake at once, each with file, key and remedy."""

from pathlib import Path

import pytest

from hengyu.base.errors import HengyuError
from hengyu.base.paths import share
from hengyu.suites.suite import find_suite, load_suite


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_shipped_suite_is_read() -> None:
    for path in share("suites").glob("*.toml"):
        suite = load_suite(path)
        assert suite.name == path.stem
        assert suite.title
        assert suite.description
        assert str(suite.entries[0].entry) == suite.task_kind.reference


def test_a_suite_of_one_line_has_sensible_defaults(tmp_path: Path) -> None:
    suite = load_suite(written(tmp_path, 'tasks = ["hengyu-sts:test"]\n'))
    assert (suite.name, suite.poolings, suite.fit_on, suite.seed) == ("mine", ("mean",), "target", 0)
    assert [e.model for e in suite.encoders] == ["hengyu-mini"]
    assert suite.baselines == ("random", "tfidf", "char-mean")


def test_raw_is_always_there_and_first(tmp_path: Path) -> None:
    suite = load_suite(written(tmp_path, 'tasks = ["a:b"]\nentries = ["pca(dim=2)", "raw"]\n'))
    assert [str(e.entry) for e in suite.entries] == ["raw", "pca(dim=2)"]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        tasks = ["hengyu-sts:test", "hengyu-sts:test"]
        poolngs = ["mean"]
        seed = "one"
        resamples = 3
        aggregate = "median"
        baselines = ["tfdif"]
        encoders = [{ model = "x", dtyp = "float16" }]
        entries = ["whitening(dimension=3)", { entry = "center", dims = "all" }, { entry = "pca", dims = [0] }, { entri = "l2" }]
        """,
    )
    with pytest.raises(HengyuError) as caught:
        load_suite(path)
    problems = caught.value.problems
    assert all(str(path) in p and "key '" in p for p in problems)
    for part in (
        "names hengyu-sts:test twice",
        "'poolngs' is unknown; did you mean 'poolings'?",
        "'seed' must be a whole number",
        "'resamples' must lie in",
        "'aggregate' must be",
        "'tfdif'; did you mean 'tfidf'?",
        "'encoders[0].dtyp' is unknown; did you mean 'dtype'?",
        "no parameter 'dimension'",
        "'entries[1].dims' does not fit 'center'",
        "'entries[2].dims' must be 'all' or a list",
        "'entries[3].entri' is unknown; did you mean 'entry'?",
    ):
        assert any(part in p for p in problems), (part, problems)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"tasks = [", "not valid TOML"),
        ("tasks = ['\u6d4b']".encode("gb18030"), "not UTF-8"),
        (b"", "'tasks' is missing"),
        (b"tasks = []", "is empty"),
        (b"tasks = 3", "must be a list"),
        (b"tasks = [3]", "must hold strings only"),
        (b'name = "../x"\ntasks = ["a:b"]', "'name' must be"),
    ],
)
def test_files_that_are_no_suite(tmp_path: Path, content: bytes, part: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(HengyuError, match=part):
        load_suite(path)


def test_an_entry_may_be_wanted_under_some_of_the_poolings_alone(tmp_path: Path) -> None:
    text = 'tasks = ["a:b"]\npoolings = ["cls", "mean"]\nentries = ["center", { entry = "l2", poolings = ["mean"] }]\n'
    suite = load_suite(written(tmp_path, text))
    names = {p: [str(e.entry) for e in suite.entries_for("hengyu-mini", p)] for p in ("cls", "mean", "native")}
    assert names["cls"] == ["raw", "center"] and names["mean"] == names["native"] == ["raw", "center", "l2"]
    other = suite.with_overrides(
        poolings=("cls",)
    )  # asked for in place of the suite's: every entry is weighed under it
    assert [str(e.entry) for e in other.entries_for("hengyu-mini", "cls")] == [
        "raw",
        "center",
        "l2",
    ] and other.partial == suite.partial


def test_an_entry_may_be_wanted_of_some_encoders_alone(tmp_path: Path) -> None:
    model = tmp_path / "their-model"
    model.mkdir()
    text = f'tasks = ["a:b"]\nencoders = ["hengyu-mini", "{model}", {{ model = "x.npy", name = "mine" }}]\n'
    entries = '"center", { entry = "l2", encoders = ["their-model", "mine"] }'
    suite = load_suite(written(tmp_path, f"{text}entries = [{entries}]\n"))
    names = {
        e: [str(s.entry) for s in suite.entries_for(e, "mean")] for e in ("hengyu-mini", "their-model", "mine", "new")
    }
    assert names["hengyu-mini"] == names["new"] == ["raw", "center"]
    assert names["their-model"] == names["mine"] == ["raw", "center", "l2"]
    with pytest.raises(HengyuError, match="entries\\[0\\].encoders.*none of the suite's"):
        load_suite(written(tmp_path, f'{text}entries = [{{ entry = "l2", encoders = ["other"] }}]\n'))


def test_poolings_of_an_entry_that_cannot_be(tmp_path: Path) -> None:
    entries = '{ entry = "l2", poolings = ["maen"] }, { entry = "raw", poolings = ["mean"] }'
    path = written(tmp_path, f'tasks = ["a:b"]\npoolings = ["cls", "mean"]\nentries = [{entries}]\n')
    with pytest.raises(HengyuError) as caught:
        load_suite(path)
    wrong, first = caught.value.problems
    assert "entries[0].poolings" in wrong and "did you mean 'mean'?" in wrong
    assert "entries[1].poolings" in first and "leave poolings out" in first


def test_suites_are_found_by_path_and_by_name(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    assert find_suite(str(path)) == path
    assert find_suite("smoke") == share("suites", "smoke.toml")
    assert find_suite("suites/smoke.toml").samefile(share("suites", "smoke.toml"))
    with pytest.raises(HengyuError, match="did you mean 'smoke'"):
        find_suite("smok")
    with pytest.raises(HengyuError, match="no such file"):
        find_suite(str(tmp_path / "smoke.toml"))


def test_a_suite_says_of_itself_only_what_holds_of_what_is_weighed() -> None:
    own = load_suite(find_suite("whitening-2021"))
    assert (
        own.with_overrides(tasks=("STS-B:test",), encoders=("bert-base-chinese", "bert-base-chinese=/x")).title
        == own.title
    )
    for asked, words in (
        (
            {"tasks": ("STS-B:test", "mine:test")},
            "bert-base-chinese, chinese-roberta-wwm-ext and 4 more on STS-B:test, mine:test",
        ),
        ({"encoders": ("./my-model",)}, f"my-model on {own.tasks[0]}, {own.tasks[1]} and {len(own.tasks) - 2} more"),
        ({"tasks": ("mine:test",), "encoders": ("./my-model", "a/b", "c", "d")}, "my-model, b and 2 more on mine:test"),
    ):
        other = own.with_overrides(**asked)
        assert (other.title, other.description) == (words, "The methods of whitening-2021.")
