"""Cards with a URL: a file is fetched byte for byte, resumed, looked for at mirrors, and used only as the card pins it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.fakefiles import FakeFiles

from hengyu.base.errors import HengyuError
from hengyu.cards import load_card
from hengyu.cards.card import Card
from hengyu.cards.data import load_pairs
from hengyu.cards.hub import fetch
from hengyu.cards.remote import Unreachable
from hengyu.cards.web import addresses
from hengyu.cli import main

CONTENT = "".join(f"第{i}句话说了什么\t另一句{i}\t{i % 2}\n" for i in range(200)).encode()
PATH = "/owner/name/test.tsv"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeFiles]:
    fake = FakeFiles()
    fake.files[PATH] = CONTENT
    monkeypatch.setattr("hengyu.cards.web._sleep", lambda seconds: None)
    monkeypatch.delenv("HENGYU_MIRRORS", raising=False)
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


def card_for(folder: Path, url: str, sha256: str = hashlib.sha256(CONTENT).hexdigest(), more: str = "") -> Card:
    folder.mkdir(exist_ok=True)
    path = folder / "mine.toml"
    lines = ['name = "mine"', "header = false", 'labels = { scale = [0, 1], kind = "binary" }', "[splits.test]"]
    path.write_text("\n".join([*lines, f'url = "{url}"', f'sha256 = "{sha256}"', more]), encoding="utf-8")
    return load_card(path)


def partial(folder: Path) -> list[Path]:
    return list((folder / "cache").rglob("*.part"))


def test_a_file_is_kept_as_it_is_and_read_as_its_card_says(server: FakeFiles, tmp_path: Path) -> None:
    card = card_for(tmp_path / "cards", server.url + PATH, more="rows = 200")
    with pytest.raises(HengyuError, match="mine:test is not here .*run 'hengyu fetch mine'"):
        load_pairs(card, "test")
    (path,) = fetch(card)
    assert path.read_bytes() == CONTENT and path.name == "test.tsv" and not partial(tmp_path)
    pairs = load_pairs(card, "test")
    assert pairs.first[:2] == ("第0句话说了什么", "第1句话说了什么") and pairs.labels.tolist() == [0.0, 1.0] * 100
    lines: list[str] = []
    assert fetch(card, progress=lines.append) == [path] and "already here" in lines[-1]
    assert server.asked == [PATH]  # the second time nothing is asked
    path.write_bytes(CONTENT[:-4])
    with pytest.raises(HengyuError, match="the sha256 is .* was expected; run 'hengyu fetch mine' again"):
        load_pairs(card, "test")
    fetch(card)
    assert len(load_pairs(card, "test").labels) == 200


def test_a_connection_that_breaks_off_is_resumed(server: FakeFiles, tmp_path: Path) -> None:
    server.cuts = [100, 300]
    (path,) = fetch(card_for(tmp_path / "cards", server.url + PATH))
    assert path.read_bytes() == CONTENT
    assert server.asked == [PATH, f"{PATH} bytes=100-", f"{PATH} bytes=400-"]


def test_another_call_goes_on_where_the_first_gave_up(server: FakeFiles, tmp_path: Path) -> None:
    card = card_for(tmp_path / "cards", server.url + PATH)
    server.cuts = [100, 0, 0, 0]
    with pytest.raises(Unreachable, match="breaks off .*what was downloaded is kept, and the same command continues"):
        fetch(card)
    assert [p.stat().st_size for p in partial(tmp_path)] == [100]
    fetch(card)
    assert server.asked[-1] == f"{PATH} bytes=100-" and len(load_pairs(card, "test").labels) == 200


def test_a_server_without_ranges_sends_it_all_again(server: FakeFiles, tmp_path: Path) -> None:
    server.ranges, server.cuts = False, [100]
    (path,) = fetch(card_for(tmp_path / "cards", server.url + PATH))
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("size", [50, len(CONTENT) + 50])
def test_a_part_of_another_file_is_thrown_away(server: FakeFiles, tmp_path: Path, size: int) -> None:
    card = card_for(tmp_path / "cards", server.url + PATH)
    place = tmp_path / "cache" / "datasets" / "mine" / card.splits["test"].sha256[:16]
    place.mkdir(parents=True)
    (place / ".test.tsv.part").write_bytes(b"x" * size)
    (path,) = fetch(card)
    assert path.read_bytes() == CONTENT and not partial(tmp_path)


def test_a_wrong_checksum_is_one_sentence_and_leaves_nothing(server: FakeFiles, tmp_path: Path) -> None:
    card = card_for(tmp_path / "cards", server.url + PATH, sha256="0" * 64)
    done = CliRunner().invoke(main, ["fetch", "mine", "--datasets", str(tmp_path / "cards")])
    assert done.exit_code == 2 and done.output.count("error: ") == 1
    assert f"the sha256 is {hashlib.sha256(CONTENT).hexdigest()}, but {card.path} pins {'0' * 64}" in done.output
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


@pytest.mark.parametrize(
    ("status", "says"), [(404, "answers HTTP 404 Not Found; check the card's url"), (503, "HTTP 503")]
)
def test_what_a_server_refuses(server: FakeFiles, tmp_path: Path, status: int, says: str) -> None:
    server.refusals[PATH] = status
    with pytest.raises(HengyuError) as e:
        fetch(card_for(tmp_path / "cards", server.url + PATH))
    assert says in str(e.value) and "HENGYU_MIRRORS" in str(e.value) and "\n" not in str(e.value)
    assert len(server.asked) == (1 if status == 404 else 4)


def test_no_network(server: FakeFiles, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="http://127.0.0.1:1/test.tsv cannot be reached"):
        fetch(card_for(tmp_path / "cards", "http://127.0.0.1:1/test.tsv"))


def test_mirrors_are_tried_first_and_the_address_itself_last(
    server: FakeFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/mirror/name/test.tsv"] = b"damaged"
    monkeypatch.setenv("HENGYU_MIRRORS", f"http://elsewhere/=http://x/ {server.url}/owner/={server.url}/mirror/")
    card = card_for(tmp_path / "cards", server.url + PATH)
    (path,) = fetch(card)
    assert path.read_bytes() == CONTENT and server.asked == ["/mirror/name/test.tsv", PATH]
    path.unlink()
    server.files["/mirror/name/test.tsv"] = CONTENT
    assert fetch(card) == [path] and server.asked[2:] == ["/mirror/name/test.tsv"]
    monkeypatch.setenv("HENGYU_MIRRORS", "https://mirror.example/")
    with pytest.raises(HengyuError, match=r"HENGYU_MIRRORS: 'https://mirror.example/' is not PREFIX=MIRROR"):
        addresses(server.url)


@pytest.mark.parametrize(
    ("url", "sha256", "says"),
    [
        ("ftp://host/test.tsv", "0" * 64, "key 'splits.test.url' must be the http(s) address of a file"),
        (
            "https://raw.githubusercontent.com/o/n/main/t.tsv",
            "0" * 64,
            "names the branch or tag 'main', which can move",
        ),
        (
            "https://host/test.tsv",
            "",
            "key 'splits.test.sha256' is missing; a file at a url is only used with its digest",
        ),
        ("https://host/test.xlsx", "0" * 64, "is an Excel workbook"),
    ],
)
def test_a_card_that_does_not_pin_its_file_is_refused(tmp_path: Path, url: str, sha256: str, says: str) -> None:
    with pytest.raises(HengyuError) as e:
        card_for(tmp_path, url, sha256)
    assert says in str(e.value)


def test_where_a_file_comes_from_is_listed_and_does_not_change_the_digest(server: FakeFiles, tmp_path: Path) -> None:
    card = card_for(tmp_path / "cards", server.url + PATH)
    listed = CliRunner().invoke(main, ["list", "datasets", "--datasets", str(tmp_path / "cards")])
    assert "127.0.0.1" in next(line for line in listed.output.splitlines() if line.strip().startswith("mine"))
    other = card_for(tmp_path / "cards", "https://host/owner/name/test.tsv")
    assert other.digest == card.digest
