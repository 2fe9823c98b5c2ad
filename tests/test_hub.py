"""The hub: splits are fetched at their pinned revision and checked, from a small fake of it on this machine."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers.fakehub import REVISION, FakeHub

from hengyu.base.errors import HengyuError
from hengyu.cards import load_card
from hengyu.cards.card import Card
from hengyu.cards.data import load_pairs
from hengyu.cards.hub import fetch
from hengyu.cards.remote import pick_files
from hengyu.cli import main

ROWS = [("天气好\u2028吗", "天气\n怎么样", 1), ("NA", '他说"走"', 0), ("1", "null", 1)]


def parquet(rows: list[tuple[Any, Any, Any]], label: str = "score") -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    first, second, labels = (list(column) for column in zip(*rows, strict=True))
    pq.write_table(
        pa.table({"idx": list(range(len(rows))), "sentence1": first, "sentence2": second, label: labels}), sink
    )
    return sink.getvalue()


def jsonl(rows: list[tuple[Any, Any, Any]]) -> bytes:
    lines = [json.dumps({"sentence1": a, "sentence2": b, "score": y}, ensure_ascii=False) for a, b, y in rows]
    return "\n".join(lines).encode()


def card_for(folder: Path, *splits: str, hub: str = "", rows: int | None = 3, more: str = "") -> Card:
    lines = ['name = "mine"', 'labels = { scale = [0, 1], kind = "binary" }', more, "[hub]", 'id = "owner/name"']
    lines += [f'revision = "{REVISION}"', hub]
    for split in splits or ("test",):
        lines += [f"[splits.{split}]", f"rows = {rows}" if rows else ""]
    path = folder / "mine.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return load_card(path)


def refuse(said: str, card: Card) -> None:
    with pytest.raises(HengyuError) as e:
        fetch(card)
    assert said in str(e.value)
    assert "\n" not in str(e.value)


def test_fetch_and_read_back(hub: FakeHub, tmp_path: Path) -> None:
    hub.repositories["owner/name"] = {
        "README.md": b"# name",
        "data/test-00000-of-00002-ab12.parquet": parquet(ROWS[:2]),
        "data/test-00001-of-00002-ab12.parquet": parquet(ROWS[2:]),
        "data/validation-00000-of-00001.parquet": parquet(ROWS),
    }
    card = card_for(tmp_path, "valid", "test")
    lines: list[str] = []
    paths = fetch(card, progress=lines.append)
    assert paths == [tmp_path / "cache" / "datasets" / "mine" / REVISION / f"{s}.jsonl" for s in ("valid", "test")]
    for split in ("valid", "test"):
        pairs = load_pairs(card, split)
        assert list(zip(pairs.first, pairs.second, pairs.labels.tolist(), strict=True)) == ROWS
    notes = json.loads((paths[0].parent / "fetch.json").read_text(encoding="utf-8"))
    assert (notes["id"], notes["revision"], notes["card"]) == ("owner/name", REVISION, "mine")
    assert notes["splits"]["test"]["rows"] == 3
    assert list(notes["splits"]["test"]["files"]) == sorted(hub.repositories["owner/name"])[1:3]
    assert notes["splits"]["test"]["sha256"] == hashlib.sha256(paths[1].read_bytes()).hexdigest()
    assert not [p for p in paths[0].parent.iterdir() if p.name.startswith(".")]
    # the second time nothing is asked
    asked = len(hub.asked)
    assert fetch(card, progress=lines.append) == paths
    assert len(hub.asked) == asked
    assert "already here" in lines[-1]


def test_damaged_cache_is_noticed_and_fetched_again(hub: FakeHub, tmp_path: Path) -> None:
    hub.repositories["owner/name"] = {"test.jsonl": jsonl(ROWS)}
    card = card_for(tmp_path)
    (path,) = fetch(card)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(HengyuError, match="the sha256 is .* was expected; run 'hengyu fetch mine' again"):
        load_pairs(card, "test")
    fetch(card)
    assert len(load_pairs(card, "test").labels) == 3


def test_fetch_jsonl_gz_of_a_subset(hub: FakeHub, tmp_path: Path) -> None:
    hub.repositories["owner/name"] = {
        "test/zh.jsonl.gz": gzip.compress(jsonl(ROWS)),
        "test/zh-en.jsonl.gz": gzip.compress(jsonl(ROWS[:1])),
        "raw/test/00/1.json": b"{}",
    }
    (path,) = fetch(card_for(tmp_path, hub='subset = "zh"'), tmp_path / "elsewhere")
    assert path.is_relative_to(tmp_path / "elsewhere")
    assert len(path.read_text(encoding="utf-8").split("\n")) == 3 + 1


def test_pick_files() -> None:
    files = [
        "README.md",
        "data/train-1.parquet",
        "data/test-2.parquet",
        "data/test-1.parquet",
        "data/test.csv",
        "latest.csv",
    ]
    assert pick_files(files, "test", "", "x") == ["data/test-1.parquet", "data/test-2.parquet"]
    assert pick_files(files, "data/*.csv", "", "x") == ["data/test.csv"]
    v2 = ["de/sts22-test.parquet", "zh/sts22-test.parquet", "zh-en/sts22-test.parquet"]
    assert pick_files(v2, "test", "zh", "x") == ["zh/sts22-test.parquet"]


def test_a_split_that_arrives_is_kept(hub: FakeHub, tmp_path: Path) -> None:
    hub.repositories["owner/name"] = {"test.parquet": parquet(ROWS)}
    card = card_for(tmp_path, "train", "test")
    refuse("mine:train: owner/name has no files of a split 'train'; set the split's hub key", card)
    assert len(load_pairs(card, "test").labels) == 3


def test_wrong_number_of_rows(hub: FakeHub, tmp_path: Path) -> None:
    hub.repositories["owner/name"] = {"test.parquet": parquet(ROWS)}
    card = card_for(tmp_path, rows=4)
    refuse(f"3 rows, but {tmp_path}/mine.toml says 4; correct splits.test.rows", card)
    assert not list((tmp_path / "cache").rglob("*.jsonl"))


def test_pinned_file(hub: FakeHub, tmp_path: Path) -> None:
    content = parquet(ROWS)
    hub.repositories["owner/name"] = {"test.parquet": content}
    digest = hashlib.sha256(content).hexdigest()
    refuse(f"the sha256 is {digest}, but", card_for(tmp_path, hub=f'sha256 = {{ "test.parquet" = "{"0" * 64}" }}'))
    assert fetch(card_for(tmp_path, hub=f'sha256 = {{ "test.parquet" = "{digest}" }}'))


def test_hidden_labels(hub: FakeHub, tmp_path: Path) -> None:
    hub.repositories["owner/name"] = {"test.parquet": parquet([(a, b, -1) for a, b, _ in ROWS])}
    refuse("every label is -1, which marks hidden labels", card_for(tmp_path))


def test_other_columns(hub: FakeHub, tmp_path: Path) -> None:
    hub.repositories["owner/name"] = {"test.parquet": parquet(ROWS, "label")}
    refuse("the table has no column 'score'; known: idx, label, sentence1, sentence2", card_for(tmp_path))
    assert fetch(card_for(tmp_path, hub='columns = { label = "label" }'))


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (404, "RepoNotFound", "owner/name does not exist or is private; check the card's hub.id"),
        (401, "RepoNotFound", "owner/name does not exist or is private"),
        (403, "GatedRepo", "owner/name is gated; accept its terms at"),
        (404, "RevisionNotFound", f"owner/name has no revision {REVISION}; check the card's hub.revision"),
        (400, "", "owner/name cannot be reached or gives an unexpected answer"),
    ],
)
def test_what_the_hub_refuses(hub: FakeHub, tmp_path: Path, status: int, code: str, said: str) -> None:
    hub.refusals["owner/name"] = (status, code)
    refuse(said, card_for(tmp_path))


def test_no_network(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    # huggingface_hub waits between its attempts, 23 s in all
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    refuse("owner/name cannot be reached or gives an unexpected answer (", card_for(tmp_path, "train", "test"))
    once = len(waits)
    result = CliRunner().invoke(main, ["fetch", "--all"])
    assert result.exit_code == 2
    assert result.output.count("error: ") == 1
    assert len(waits) == 2 * once  # neither the other splits nor the other datasets are tried in vain


def test_offline_is_honoured(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refuse("mine: HF_HUB_OFFLINE is set, so nothing is downloaded; unset it", card_for(tmp_path))
    assert not hub.asked


def test_offline_since_the_start(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refuse("HF_HUB_OFFLINE was set at the start, so nothing is downloaded", card_for(tmp_path))
    assert not hub.asked


def test_nothing_to_fetch(tmp_path: Path) -> None:
    from hengyu.cards import load_cards

    refuse("hengyu-sts has no [hub] and no url, so there is nothing to fetch", load_cards()["hengyu-sts"])


def test_command(hub: FakeHub, tmp_path: Path) -> None:
    hub.repositories["owner/name"] = {"test.parquet": parquet(ROWS)}
    (tmp_path / "cards").mkdir()
    card_for(tmp_path / "cards")
    run = CliRunner().invoke
    result = run(main, ["fetch", "MINE", "--datasets", str(tmp_path / "cards")])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip().endswith(f"{REVISION}/test.jsonl")
    listed = run(main, ["list", "datasets", "--datasets", str(tmp_path / "cards")])
    assert "cached" in next(line for line in listed.stdout.splitlines() if line.strip().startswith("mine"))
    result = run(main, ["fetch", "mine", "lcqmc", "--datasets", str(tmp_path / "cards")])
    assert result.exit_code == 2
    assert "error: LCQMC: the hub's dataset C-MTEB/LCQMC does not exist or is private" in result.output
    assert run(main, ["fetch"]).exit_code == 2
    assert run(main, ["fetch", "--all", "mine"]).exit_code == 2
    unknown = run(main, ["fetch", "lcqcm"])
    assert unknown.exit_code == 2
    assert "did you mean 'LCQMC'?" in unknown.output
