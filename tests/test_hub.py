"""The hub: splits are fetched at their pinned revision and checked, from a small fake of it on this machine."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from click.testing import CliRunner

from hengyu.card import Card
from hengyu.cards import load_card
from hengyu.cli import main
from hengyu.data import load_pairs
from hengyu.errors import HengyuError
from hengyu.hub import fetch, pick_files

REVISION = "0123456789abcdef0123456789abcdef01234567"
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


class FakeHub:
    """Serves repositories from memory and notes what was asked; `refusals` answer a repository with an error."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.refusals: dict[str, tuple[int, str]] = {}
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                path = unquote(urlsplit(self.path).path)
                hub.asked.append(f"{self.command} {path}")
                status, headers, body = hub.answer(path)
                self.send_response(status)
                for key, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        parts = path.strip("/").removeprefix("api/").split("/")  # datasets/owner/name/tree|resolve/revision/...
        name = "/".join(parts[1:3])
        if name in self.refusals:
            status, code = self.refusals[name]
            return status, {"X-Error-Code": code}, b"{}"
        if name not in self.repositories:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if parts[4] != REVISION:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        files = self.repositories[name]
        if parts[3] == "tree":
            tree = [
                {"type": "file", "path": p, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                for p, c in files.items()
            ]
            return 200, {"Content-Type": "application/json"}, json.dumps(tree).encode()
        content = files["/".join(parts[5:])]
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": REVISION}
        return 200, headers, content


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    from huggingface_hub import constants

    fake = FakeHub()
    monkeypatch.setenv("HF_ENDPOINT", fake.url)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    # both are read when huggingface_hub is imported, which another test may have done
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


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
    refuse(f"3 rows where {tmp_path}/mine.toml says 4; correct splits.test.rows", card)
    assert not list((tmp_path / "cache").rglob("*.jsonl"))


def test_pinned_file(hub: FakeHub, tmp_path: Path) -> None:
    content = parquet(ROWS)
    hub.repositories["owner/name"] = {"test.parquet": content}
    digest = hashlib.sha256(content).hexdigest()
    refuse(f"the sha256 is {digest} where", card_for(tmp_path, hub=f'sha256 = {{ "test.parquet" = "{"0" * 64}" }}'))
    assert fetch(card_for(tmp_path, hub=f'sha256 = {{ "test.parquet" = "{digest}" }}'))


def test_hidden_labels(hub: FakeHub, tmp_path: Path) -> None:
    hub.repositories["owner/name"] = {"test.parquet": parquet([(a, b, -1) for a, b, _ in ROWS])}
    refuse("every label is -1, which is how hidden labels are published", card_for(tmp_path))


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
        (400, "", "owner/name cannot be reached or does not answer as it should"),
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
    refuse("owner/name cannot be reached or does not answer as it should (", card_for(tmp_path, "train", "test"))
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

    refuse("hengyu-sts has no [hub], so there is nothing to fetch", load_cards()["hengyu-sts"])


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
