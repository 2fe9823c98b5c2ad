"""Where a model stands among published figures, and why its own figure is not met."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from helpers.fakefiles import FakeFiles
from helpers.folders import pooled

from hengyu.base.errors import HengyuError
from hengyu.cards.remote import Unreachable
from hengyu.cli import main
from hengyu.report.published import Published, published
from hengyu.storage.records import Run, load_run
from hengyu.tools.standing.board import audit_board
from hengyu.tools.standing.fetched import fetch_results
from hengyu.tools.standing.place import places_of, protocol_of

TEXTS = (
    "今天气真好", "我们去公园散步", "他不是学生", "她在家里看书", "这个问题很重要", "你有没有时间", "公园里有很多人", "学生在看书",
    "天气不好就在家", "时间不多了", "他们都去公园了", "问题解决了", "家里没有人", "重要的是时间", "今天没有课", "书很好看",
)  # fmt: skip
CARD = """name = "mine"
columns = { sentence1 = "a", sentence2 = "b", label = "c" }
labels = { scale = [0, 5] }
[splits.test]
file = "test.tsv"
[splits.valid]
file = "valid.tsv"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A card with two splits of invented pairs."""
    monkeypatch.setenv("HENGYU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HENGYU_REPORTS", str(tmp_path / "out"))
    data = tmp_path / "cards"
    data.mkdir()
    (data / "mine.toml").write_text(CARD, encoding="utf-8")
    for split, step in (("test", 3), ("valid", 5)):
        rows = [
            f"{a}\t{TEXTS[(i * step + i // 16 + 1) % 16]}\t{(i * i + i // 5 + step) % 6}"
            for i, a in enumerate(TEXTS * 3)
        ]
        (data / f"{split}.tsv").write_text("a\tb\tc\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path


def evaluated(folder: Path, model: Path | str, pooling: str, *more: str, task: str = "mine:test") -> Run:
    words = ["run", "zh-sts", "--datasets", str(folder / "cards"), "--task", task, "--encoder", str(model), "--pooling", pooling,
             "--entry", "raw", "--quiet", *more]  # fmt: skip
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    return load_run(Path(done.output.partition("records: ")[2].split("\n")[0]))


def value_of(run: Run) -> float:
    (found,) = (r.value for r in run.records if r.metric == "spearman" and r.card and r.pooling != "-")
    assert found is not None
    return found


def results(folder: Path, **values: float) -> Path:
    """Write result files as mteb does, of models with these figures."""
    for model, value in values.items():
        place = folder / "results" / f"someone__{model}" / "1"
        place.mkdir(parents=True, exist_ok=True)
        scores = {"test": [{"cosine_spearman": value, "hf_subset": "default"}]}
        (place / "mine.json").write_text(json.dumps({"task_name": "mine", "scores": scores}), encoding="utf-8")
    return folder / "results"


def stood(run: Run, folder: Path, *more: str) -> tuple[Result, dict[str, Any]]:
    out = folder / "stand.json"
    words = ["stand", run.id, "--results", str(folder / "results"), "--json", str(out), "--quiet", *more]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    return done, json.loads(out.read_text(encoding="utf-8"))


def test_a_figure_that_is_met_and_its_neighbours(folder: Path, tiny_bert: Path) -> None:
    run = evaluated(folder, tiny_bert, "native")
    value = value_of(run)
    (record,) = (r for r in run.records if r.metric == "spearman" and r.card and r.pooling != "-")
    assert record.low is not None and record.high is not None
    results(folder, tiny=value - 0.001, near=value + 0.01, far=record.high + 0.01, low=record.low - 0.01)
    done, found = stood(run, folder, "--as", "someone/tiny")
    (place,) = found["places"]
    assert place["met"] is True and place["published_as"] == "someone/tiny" and place["tried"] == []
    assert place["rank"] == 3 and place["ranks"] == [2, 4 - 1] and place["models"] == 4
    assert [f["model"] for f in place["inside"]] == ["someone/near"]
    assert "someone/far" in done.output and "(outside)" in done.output and "reproduced" in done.output
    (board,) = found["boards"]
    assert board["models"] == 4 and board["model_pairs"] == 6


@pytest.mark.parametrize("right", ["mean", "first-last-mean"])
def test_a_wrong_pooling_is_named(right: str, folder: Path, tiny_bert: Path) -> None:
    published = value_of(evaluated(folder, tiny_bert, right))
    run = evaluated(folder, tiny_bert, "cls")
    results(folder, tiny=published)
    done, found = stood(run, folder, "--as", "someone/tiny")
    (place,) = found["places"]
    assert place["met"] is None and place["same_protocol"] == []  # the figure is of the model's own pooling
    assert place["other_protocol"][0]["differs_in"] == ["pooling native"]
    assert place["cause"]["kind"] == "pooling" and right in place["cause"]["what"]
    assert place["cause"]["value"] == pytest.approx(published, abs=1e-6)
    assert "likely cause: pooling" in done.output


def test_a_folder_with_the_wrong_pooling_is_found_out(folder: Path, tiny_bert: Path) -> None:
    wrong, right = (
        pooled(folder / name, tiny_bert, pooling_mode_cls_token=name == "cls", pooling_mode_mean_tokens=name == "mean")
        for name in ("cls", "mean")
    )
    published = value_of(evaluated(folder, right, "native"))
    run = evaluated(folder, wrong, "native")
    results(folder, tiny=published)
    done, found = stood(run, folder, "--as", f"{wrong.name}=someone/tiny")
    (place,) = found["places"]
    assert place["met"] is False and place["cause"]["kind"] == "pooling"
    assert place["cause"]["what"] == "mean instead of native (cls)", done.output


@pytest.mark.parametrize(
    ("cause", "more", "task"),
    [
        ("prompt", ["--prompt", "为这个句子生成表示以用于检索相关文章："], "mine:test"),
        ("split", [], "mine:valid"),
    ],
)
def test_other_causes_are_named(cause: str, more: list[str], task: str, folder: Path, tiny_bert: Path) -> None:
    figure = value_of(evaluated(folder, tiny_bert, "native", *more, task=task))
    run = evaluated(folder, tiny_bert, "native")
    results(folder, tiny=figure)
    _, found = stood(run, folder, "--as", "someone/tiny")
    assert found["places"][0]["cause"]["kind"] == cause


def test_what_explains_nothing_is_said(folder: Path, tiny_bert: Path) -> None:
    run = evaluated(folder, tiny_bert, "native")
    results(folder, tiny=0.999)
    done, found = stood(run, folder, "--as", "someone/tiny")
    assert found["places"][0]["cause"] is None and len(found["places"][0]["tried"]) > 5
    assert "no cause found among" in done.output
    done, found = stood(run, folder, "--as", "someone/tiny", "--no-try")
    assert found["places"][0]["tried"] == []
    shutil.rmtree(folder / "cards")
    done, found = stood(run, folder, "--as", "someone/tiny")
    assert "nothing was tried" in done.output and found["places"][0]["untried"]


def figure(model: str, value: float, **changed: Any) -> Published:
    usual: dict[str, Any] = {"pooling": "native", "entry": "raw", "fit_on": "none", "splits": frozenset(("test",))}
    return Published((model,), card="mine", value=value, protocol="", source="", **usual | changed)


def test_protocols_are_never_mixed(folder: Path, tiny_bert: Path) -> None:
    run = evaluated(folder, tiny_bert, "native")
    other = (
        figure("a/b", 0.9, pooling="cls"),
        figure("a/b", 0.9, entry="whitening", fit_on="all"),
        figure("a/b", 0.9, splits=frozenset(("train", "valid", "test"))),
    )
    mine = [figure("c/d", 0.1), figure("e/f", 0.9), *other, *(figure("c/d", 0.3, **{"pooling": "mean"}) for _ in "x")]
    (place,) = places_of(run, mine, {tiny_bert.name: "c/d"})
    # what the tiny model calls native is its mean, so a figure of the mean is of the same protocol
    assert [f.value for f in place.own] == [0.1, 0.3]
    assert [f.models[0] for f in place.field] == ["e/f"]
    (place,) = places_of(run, mine, {tiny_bert.name: "a/b"})
    assert not place.own and [words for _, words in place.others] == [
        ("pooling cls",), ("entry whitening", "fit on all"), ("splits test+train+valid",)
    ]  # fmt: skip
    assert all(protocol_of(f).splits == {"test"} for f in place.field)


def test_carried_figures_have_one_protocol_each() -> None:
    assert all(len(protocol_of(f)) == 5 for f in published())
    assert any(f.models[0] == "intfloat/multilingual-e5-small" and f.card == "STS-B" for f in published())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--as", "nobody=someone/tiny"], "has no model 'nobody'"),
        (["--as", "someone/other"], "there is no published figure of 'someone/other'"),
        (["--encoder", "nobody"], "has no model 'nobody'"),
    ],
)
def test_mistakes_are_sentences(more: list[str], said: str, folder: Path, tiny_bert: Path) -> None:
    run = evaluated(folder, tiny_bert, "native")
    results(folder, tiny=0.5)
    done = CliRunner().invoke(main, ["stand", run.id, "--results", str(folder / "results"), *more])
    assert done.exit_code == 2 and said in done.output and "Traceback" not in done.output


def test_a_run_without_figures_is_refused(folder: Path, tiny_bert: Path) -> None:
    run = evaluated(folder, tiny_bert, "native")
    done = CliRunner().invoke(main, ["stand", run.id])
    assert done.exit_code == 2 and "no published figures" in done.output and "--results" in done.output


def test_a_board_tells_more_the_smaller_the_error() -> None:
    values: Callable[[float], list[Published]] = lambda gap: [figure(f"m{i}", 0.5 + gap * i) for i in range(10)]  # noqa: E731
    exact = audit_board("t", 100, values(0.01), 1e-9, 0.5)
    assert exact.neighbours == (9, 9) and exact.pairs == (45, 45) and exact.first == (1, 1)
    blurred = audit_board("t", 100, values(0.01), 0.5, 0.5)
    assert blurred.neighbours == (0, 0) and blurred.pairs == (0, 0) and blurred.first == (10, 10)
    between = audit_board("t", 100, values(0.01), 0.01, 0.8)
    assert (
        between.least[0] == pytest.approx(1.959964 * 0.01 * 0.4**0.5, rel=1e-6) and between.least[0] < between.least[1]
    )
    assert between.neighbours[0] >= between.neighbours[1] and between.pairs[0] > between.pairs[1]


COMMIT = "319e81d64298f3bdc5f09c8b6ff91f5015b3664c"
ADDRESS = f"https://github.com/embeddings-benchmark/results/tree/{COMMIT}/results/someone__tiny/1"
RAW = f"/embeddings-benchmark/results/{COMMIT}/results/someone__tiny/1"
LISTED = Run(Path(), {"run": "x", "tasks": [{"card": "STS-B"}, {"card": "mine"}, {"card": "../../mine"}]}, {}, ())


def result_file(value: float) -> bytes:
    scores = {"test": [{"cosine_spearman": value, "hf_subset": "default"}]}
    return json.dumps({"task_name": "mine", "scores": scores}).encode()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeFiles]:
    """A mirror of GitHub's raw files on this machine."""
    fake = FakeFiles()
    monkeypatch.setattr("hengyu.cards.web._sleep", lambda seconds: None)
    monkeypatch.setenv("HENGYU_MIRRORS", f"https://raw.githubusercontent.com/={fake.url}/")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


def test_figures_are_fetched_when_asked_for(folder: Path, tiny_bert: Path, server: FakeFiles) -> None:
    run = evaluated(folder, tiny_bert, "native")
    value = value_of(run)
    server.files[f"{RAW}/mine.json"] = result_file(value)
    out = folder / "stand.json"
    words = ["stand", run.id, "--fetch", ADDRESS, "--as", "someone/tiny", "--json", str(out), "--quiet"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    (place,) = json.loads(out.read_text(encoding="utf-8"))["places"]
    assert place["met"] is True and place["published_as"] == "someone/tiny"
    assert place["same_protocol"][0]["source"] == "github.com/embeddings-benchmark/results (319e81d)"
    assert server.asked == [f"{RAW}/mine.json"]
    server.files[f"{RAW}/mine.json"] = b'{"task_name": "mine", "scores": '
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2 and "Traceback" not in done.output
    assert f"--fetch: {COMMIT}/someone__tiny/1/mine.json: is no result file of mteb" in " ".join(done.output.split())
    asked = len(server.asked)
    done = CliRunner().invoke(main, [*words, "--offline"])
    assert done.exit_code == 2 and "--fetch: --offline is given, so nothing is downloaded" in " ".join(
        done.output.split()
    )
    assert len(server.asked) == asked


def test_one_file_for_each_task_is_asked_for(server: FakeFiles, tmp_path: Path) -> None:
    server.files[f"{RAW}/mine.json"] = result_file(0.5)
    server.cuts = [0]  # a connection that breaks off is tried again
    found = fetch_results(LISTED, [ADDRESS, f"{ADDRESS}/"], tmp_path, print)
    assert [p.relative_to(tmp_path).as_posix() for p in found] == [f"{COMMIT}/someone__tiny/1/mine.json"]
    assert set(server.asked) == {f"{RAW}/STSB.json", f"{RAW}/mine.json"}


def refuse(
    said: str, folder: Path, address: str = ADDRESS, kind: type[HengyuError] = HengyuError, **more: bool
) -> None:
    with pytest.raises(kind) as e:
        fetch_results(LISTED, [address], folder, print, **more)
    assert said in str(e.value) and "\n" not in str(e.value)
    assert not list(folder.rglob("*.json"))


def test_what_cannot_be_fetched_is_a_sentence(
    server: FakeFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(  # without the address itself, which the network would be needed for
        "hengyu.cards.web.addresses", lambda url: [url.replace("https://raw.githubusercontent.com", server.url)]
    )
    refuse("has no result file of STSB, mine; see in the browser", tmp_path)
    server.files[f"{RAW}/mine.json"] = b'{"mteb_dataset_name": "mine", "test": {}}'
    refuse("(those of mine are in a format of old versions of mteb, which is not read)", tmp_path)
    server.files[f"{RAW}/mine.json"] = result_file(0.5)
    server.refusals[f"{RAW}/mine.json"] = 403
    refuse("answers HTTP 403 Forbidden; check the address, or name a mirror in HENGYU_MIRRORS", tmp_path)
    server.refusals = {f"{RAW}/STSB.json": 503}
    refuse("cannot be reached or breaks off", tmp_path, kind=Unreachable)
    server.refusals = {}
    monkeypatch.setattr("hengyu.tools.standing.fetched.LARGEST", 10)
    refuse("is larger than", tmp_path)
    asked = len(server.asked)
    refuse("names the branch or tag 'main', which can move", tmp_path, ADDRESS.replace(COMMIT, "main"))
    for address in (
        "someone/tiny",
        ADDRESS.replace("github.com", "example.org"),
        ADDRESS.replace("/1", "/.."),
        ADDRESS + "/x",
    ):
        refuse("is not the address of a revision's folder of a model", tmp_path, address)
    refuse("--offline is given, so nothing is downloaded", tmp_path, kind=Unreachable, offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refuse("HF_HUB_OFFLINE is set, so nothing is downloaded", tmp_path, kind=Unreachable)
    assert len(server.asked) == asked
