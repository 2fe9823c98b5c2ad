"""Models from the hub: real code, against a small fake of it on this machine."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.fakehub import REVISION, FakeHub

from hengyu.base.errors import HengyuError
from hengyu.encoders import EncoderSpec, open_encoder


def published(hub: FakeHub, name: str, folder: Path, **more: bytes) -> None:
    """Put a model's folder on the fake hub, with files that must not be fetched beside it."""
    files = {p.name: p.read_bytes() for p in folder.iterdir()}
    hub.repositories[name] = {**files, "pytorch_model.bin": b"\x80\x04.", "onnx/model.onnx": b"x", **more}


def test_a_hub_model_is_downloaded_once_and_equals_its_folder(hub: FakeHub, tiny_bert: Path) -> None:
    published(hub, "owner/tiny", tiny_bert)
    encoder = open_encoder(EncoderSpec("owner/tiny"))
    assert encoder.id == "owner/tiny"
    assert encoder.folder.revision == REVISION
    ours = encoder.encode(["今天天气真好"], ["mean"])["mean"]
    assert np.array_equal(ours, open_encoder(EncoderSpec(str(tiny_bert))).encode(["今天天气真好"], ["mean"])["mean"])
    assert not [a for a in hub.asked if "onnx" in a or ".bin" in a]
    asked = len(hub.asked)
    open_encoder(EncoderSpec("owner/tiny"))
    assert len(hub.asked) == asked  # from the local hub cache, without a word to the network
    open_encoder(EncoderSpec("owner/tiny"), offline=True)
    assert len(hub.asked) == asked


def test_nothing_is_asked_when_the_network_is_off(
    hub: FakeHub, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(hub, "owner/tiny", tiny_bert)
    with pytest.raises(HengyuError, match="network is off"):
        open_encoder(EncoderSpec("owner/tiny"), offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HengyuError, match="network is off"):
        open_encoder(EncoderSpec("owner/tiny"))
    assert hub.asked == []


def test_a_model_that_is_not_there_is_one_sentence(hub: FakeHub, tiny_bert: Path) -> None:
    with pytest.raises(HengyuError, match="no such model on the hub"):
        open_encoder(EncoderSpec("owner/none"))
    published(hub, "owner/tiny", tiny_bert)
    with pytest.raises(HengyuError, match="owner/tiny"):
        open_encoder(EncoderSpec("owner/tiny", revision="0" * 40))
    hub.repositories["owner/pickled"] = {"config.json": b"{}", "pytorch_model.bin": b"\x80\x04."}
    with pytest.raises(HengyuError, match="no weights"):
        open_encoder(EncoderSpec("owner/pickled"))


def test_code_from_the_hub_is_refused(hub: FakeHub, tiny_bert: Path) -> None:
    config = json.loads((tiny_bert / "config.json").read_bytes()) | {"auto_map": {"AutoModel": "modeling.Evil"}}
    published(hub, "owner/evil", tiny_bert, **{"config.json": json.dumps(config).encode(), "modeling.py": b"1/0"})
    with pytest.raises(HengyuError, match="its own code"):
        open_encoder(EncoderSpec("owner/evil"))
