"""Model folders of every kind: `native` is what the library gives, and the fingerprint covers every file that loading opens."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import folders
from helpers.folders import OWN, WIDTH, copy, merge, modules, pooled, router, saved, write

from hengyu.base.errors import HengyuError
from hengyu.encoders import EncoderSpec, adapters, kinds, open_encoder
from hengyu.encoders.files import TOKENIZER
from hengyu.encoders.foreign import ACTIVATIONS
from hengyu.encoders.model_folder import ModelFolder

TEXTS = ["今天天气真好，我们去公园散步吧。", "他", "不是他，是她", "", "学生们都在学习数学和语文"]


def native(folder: Path) -> np.ndarray:
    return open_encoder(EncoderSpec(str(folder))).encode(TEXTS, ["native"])["native"]


def library(folder: Path, **more: Any) -> np.ndarray:
    """What the library gives on its own, one text at a time."""
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32}, **more)
    return np.stack([model.encode(text, show_progress_bar=False) for text in TEXTS])


# --- what the library gives ---


def seeded(make: Callable[[], Any]) -> Any:
    import torch

    torch.manual_seed(11)
    made = make()
    for value in made.parameters():
        torch.nn.init.normal_(value)
    return made


def tail(*names: str) -> list[Any]:
    from sentence_transformers.sentence_transformer import modules as library
    from torch import nn

    words = ["今", "天", "他"]
    make: dict[str, Callable[[], Any]] = {
        "mean": lambda: library.Pooling(WIDTH),
        "mean+max": lambda: library.Pooling(WIDTH, ("mean", "max")),
        "weightedmean": lambda: library.Pooling(WIDTH, "weightedmean"),
        "lasttoken": lambda: library.Pooling(WIDTH, "lasttoken"),
        "no prompt": lambda: library.Pooling(WIDTH, "mean", include_prompt=False),
        "dense": lambda: seeded(lambda: library.Dense(WIDTH, 8)),
        "dense-relu": lambda: seeded(lambda: library.Dense(WIDTH, 8, bias=False, activation_function=nn.ReLU())),
        "dense-residual": lambda: seeded(lambda: library.Dense(WIDTH, 8, use_residual=True)),
        "dense-tokens": lambda: seeded(lambda: library.Dense(WIDTH, WIDTH, module_input_name="token_embeddings")),
        "layernorm": lambda: seeded(lambda: library.LayerNorm(WIDTH)),
        "normalize": library.Normalize,
        "dropout": library.Dropout,
        "words": lambda: library.WordWeights(words * 200, {"今": 0.5, "天": 3.0}, 0.1),
        "cnn": lambda: seeded(lambda: library.CNN(WIDTH, 16, [1, 3])),
    }
    return [make[name]() for name in names]


@pytest.mark.parametrize(
    "names",
    [
        ("mean+max",),
        ("weightedmean",),
        ("lasttoken", "normalize"),
        ("mean", "dense"),
        ("mean", "dense-relu", "normalize"),
        ("mean", "dense-residual"),
        ("dense-tokens", "mean"),
        ("mean", "layernorm", "normalize"),
        ("mean", "dropout"),
        ("words", "mean"),
        ("words", "weightedmean", "dense"),
    ],
)
def test_native_is_what_the_library_gives_for_every_module(
    tmp_path: Path, tiny_bert: Path, names: tuple[str, ...]
) -> None:
    folder = saved(tmp_path / "m", tiny_bert, *tail(*names))
    assert np.abs(native(folder) - library(folder)).max() < 1e-6


def test_cut_vectors_are_cut(tmp_path: Path, tiny_bert: Path) -> None:
    for names in (("mean",), ("mean", "normalize")):
        folder = saved(tmp_path / "-".join(names), tiny_bert, *tail(*names), truncate_dim=8)
        ours = native(folder)
        assert ours.shape == (len(TEXTS), 8)
        assert np.abs(ours - library(folder)).max() < 1e-6
        encoder = open_encoder(EncoderSpec(str(folder)))
        assert encoder.identity()["truncate_dim"] == 8 and encoder.native_is == ""


@pytest.mark.parametrize("trailing", [True, False])
def test_a_prompt_that_is_left_out_of_the_mean(tmp_path: Path, tiny_bert: Path, trailing: bool) -> None:
    """With and without a special token after the text; the length of the prompt must not count it."""
    folder = saved(
        tmp_path / "m",
        tiny_bert,
        *tail("no prompt"),
        prompts={"query": "我们在学习：", "document": ""},
        default_prompt_name="query",
    )
    if not trailing:
        content = json.loads((folder / "tokenizer.json").read_bytes())
        content["post_processor"] = None
        write(folder / "tokenizer.json", content)
        merge(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
        merge(folder / "config.json", model_type="bert", tokenizer_class="PreTrainedTokenizerFast")
    encoder = open_encoder(EncoderSpec(str(folder)))
    assert encoder.folder.prompts == {"query": "我们在学习：", "document": ""}
    texts = [t for t in TEXTS if t]  # of an empty one nothing would be left
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    theirs = np.stack([model.encode(t, show_progress_bar=False) for t in texts])
    assert np.abs(encoder.encode(texts, ["native"])["native"] - theirs).max() < 1e-6


def static(folder: Path, bert: Path) -> Path:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
    from tokenizers import Tokenizer

    torch.manual_seed(2)
    made = StaticEmbedding(Tokenizer.from_file(str(bert / "tokenizer.json")), embedding_dim=WIDTH)
    model = SentenceTransformer(
        modules=[made, Normalize()], device="cpu", prompts={"q": "查询："}, default_prompt_name="q"
    )
    model.save_pretrained(str(folder), safe_serialization=True, create_model_card=False)
    return folder


def test_static_embeddings_with_a_default_prompt(tmp_path: Path, tiny_bert: Path) -> None:
    folder = static(tmp_path / "m", tiny_bert)
    assert np.abs(native(folder) - library(folder)).max() < 1e-6


@pytest.mark.parametrize("default", ["document", "query"])
def test_a_router_takes_its_default_route(tmp_path: Path, tiny_bert: Path, default: str) -> None:
    folder = router(tmp_path / "m", tiny_bert, dense=True, default=default)
    assert np.abs(native(folder) - library(folder)).max() < 1e-6
    assert open_encoder(EncoderSpec(str(folder))).folder.routed


def test_a_router_of_an_older_version(tmp_path: Path, tiny_bert: Path) -> None:
    folder = router(tmp_path / "m", tiny_bert, default="query")
    place = folder / json.loads((folder / "modules.json").read_bytes())[0]["path"]
    (place / "router_config.json").rename(place / "config.json")
    modules(folder, (place.relative_to(folder).as_posix().replace(".", ""), f"{OWN}Asym"))
    content = json.loads((place / "config.json").read_bytes())
    content["parameters"] = {"allow_empty_key": True}
    write(place / "config.json", content)
    assert np.abs(native(folder) - library(folder)).max() < 1e-6


def test_bags_of_words_and_word_embeddings(tmp_path: Path, tiny_bert: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules as library_modules
    from sentence_transformers.sentence_transformer.modules.tokenizer import WhitespaceTokenizer

    bag = library_modules.BoW(["他", "她", "不是他，是她"], {"他": 2.0}, 0.5)
    rows = np.random.default_rng(0).normal(size=(3, WIDTH)).astype(np.float32)
    words = library_modules.WordEmbeddings(WhitespaceTokenizer(["他", "她", "不是他，是她"], stop_words=[]), rows)
    lstm = seeded(lambda: library_modules.LSTM(WIDTH, 8))
    for name, parts in (
        ("bag", [bag]),
        ("words", [words, *tail("mean")]),
        ("lstm", [words, lstm, library_modules.Pooling(16)]),
    ):
        SentenceTransformer(modules=parts, device="cpu").save_pretrained(
            str(tmp_path / name), safe_serialization=True, create_model_card=False
        )
        ours = open_encoder(EncoderSpec(str(tmp_path / name))).encode(["他", "不是他，是她"], ["native"])["native"]
        theirs = SentenceTransformer(str(tmp_path / name), device="cpu").encode(["他", "不是他，是她"])
        assert np.abs(ours - theirs).max() < 1e-6, name


LAYOUTS = {
    "2": ("sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling"),
    "5": (
        "sentence_transformers.models.Transformer.Transformer",
        "sentence_transformers.models.Pooling.Pooling",
    ),
    "6": (
        "sentence_transformers.base.modules.transformer.Transformer",
        "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    ),
}


@pytest.mark.parametrize("layout", ["2", "5", "6"])
@pytest.mark.parametrize(
    "config",
    [
        {"word_embedding_dimension": WIDTH, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
        {"word_embedding_dimension": WIDTH, "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True},
        {"embedding_dimension": WIDTH, "pooling_mode": "mean", "include_prompt": True},
        {"embedding_dimension": WIDTH, "pooling_mode": ["cls", "mean"]},
    ],
)
def test_configurations_of_every_version_are_read(
    tmp_path: Path, tiny_bert: Path, layout: str, config: dict[str, Any]
) -> None:
    folder = copy(tiny_bert, tmp_path / "m")
    body, pooling = LAYOUTS[layout]
    modules(folder, ("", body), ("1_Pooling", pooling))
    write(folder / "1_Pooling" / "config.json", config)
    write(folder / "sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": False})
    assert np.abs(native(folder) - library(folder)).max() < 1e-6


def test_a_transformer_in_a_folder_of_its_own(tmp_path: Path, tiny_bert: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    copy(tiny_bert, folder / "0_Transformer")
    modules(
        folder,
        ("0_Transformer", f"{OWN}Transformer"),
        ("1_Pooling", f"{OWN}Pooling"),
        ("2_Normalize", f"{OWN}Normalize"),
    )
    write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": WIDTH, "pooling_mode_max_tokens": True})
    assert np.abs(native(folder) - library(folder)).max() < 1e-6


def test_a_model2vec_folder_in_its_own_layout(tmp_path: Path, tiny_bert: Path) -> None:
    """The mean of the rows of its tokens, without special ones, at length 1."""
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer

    folder = tmp_path / "m"
    folder.mkdir()
    shutil.copy(tiny_bert / "tokenizer.json", folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    rows = np.random.default_rng(4).normal(size=(tokenizer.get_vocab_size(), 6)).astype(np.float32)
    save_file({"embeddings": rows}, folder / "model.safetensors")
    write(folder / "config.json", {"model_type": "model2vec", "architectures": ["StaticModel"], "normalize": True})
    encoder = open_encoder(EncoderSpec(str(folder)))
    ours = encoder.encode(["今天天气"], ["native"])["native"][0]
    by_hand = rows[tokenizer.encode("今天天气", add_special_tokens=False).ids].mean(0)
    assert np.abs(ours - by_hand / np.linalg.norm(by_hand)).max() < 1e-6
    assert "not a transformer" in encoder.poolings["mean"]


def test_a_step_of_our_own_beside_the_librarys(tmp_path: Path, tiny_bert: Path) -> None:
    from hengyu.tools.export_model.steps import Step

    folder = saved(tmp_path / "m", tiny_bert, *tail("mean"), Step("jl(dim=8)", {}, 8))
    assert np.abs(native(folder) - library(folder, trust_remote_code=True)).max() < 1e-6


def test_what_is_exported_again_names_the_librarys_classes(tmp_path: Path, tiny_bert: Path) -> None:
    import torch

    folder = saved(tmp_path / "m", tiny_bert, *tail("mean", "dense"))
    open_encoder(EncoderSpec(str(folder))).library(torch.float32).save_pretrained(str(tmp_path / "again"))
    assert np.abs(native(tmp_path / "again") - library(folder)).max() < 1e-6
    types = [m["type"] for m in json.loads((tmp_path / "again" / "modules.json").read_bytes())]
    assert all(t.startswith("sentence_transformers.") for t in types)


# --- adapters ---


def test_an_adapter_is_applied_beside_its_base_and_alone(tmp_path: Path, tiny_bert: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModel, AutoTokenizer

    alone = folders.adapter(tmp_path / "alone", tiny_bert)
    beside = copy(tiny_bert, tmp_path / "beside")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(alone / name, beside)
    model = PeftModel.from_pretrained(AutoModel.from_pretrained(tiny_bert), alone).merge_and_unload().eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    with torch.inference_mode():
        right = np.stack(
            [model(**tokenizer(t, return_tensors="pt")).last_hidden_state[0].mean(0).numpy() for t in TEXTS]
        )
    plain = open_encoder(EncoderSpec(str(tiny_bert)))
    assert np.abs(plain.encode(TEXTS, ["mean"])["mean"] - right).max() > 0.1
    for folder in (alone, beside):
        encoder = open_encoder(EncoderSpec(str(folder)))
        assert np.abs(encoder.encode(TEXTS, ["mean"])["mean"] - right).max() < 1e-5
        assert encoder.identity()["adapter"] == "LORA"
        assert encoder.folder.fingerprint != plain.folder.fingerprint
        with pytest.raises(HengyuError, match="merge"):
            open_encoder(EncoderSpec(str(folder), backend="onnx"))


def test_a_change_of_an_adapters_base_changes_the_fingerprint(tmp_path: Path, tiny_bert: Path) -> None:
    base = copy(tiny_bert, tmp_path / "base")
    alone = folders.adapter(tmp_path / "alone", base)
    before = open_encoder(EncoderSpec(str(alone))).folder.fingerprint
    flip(base / "model.safetensors")
    assert open_encoder(EncoderSpec(str(alone))).folder.fingerprint != before


def test_adapters_that_cannot_be_applied_are_refused(
    tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = folders.adapter(tmp_path / "alone", tiny_bert)
    for named, said in (
        ("somebody/not-here", "is only an adapter, and its base model 'somebody/not-here' .*network is off"),
        ("/nowhere/at/all", "is only an adapter.*no such folder"),
        (7, "names no base model"),
        (str(alone), "is not a plain transformers folder|is only an adapter"),
    ):
        merge(alone / "adapter_config.json", base_model_name_or_path=named)
        with pytest.raises(HengyuError, match=said):
            open_encoder(EncoderSpec(str(alone)))
    merge(alone / "adapter_config.json", base_model_name_or_path=str(tiny_bert), peft_type="PROMPT_TUNING")
    with pytest.raises(HengyuError, match="PROMPT_TUNING are not supported"):
        open_encoder(EncoderSpec(str(alone)))
    merge(alone / "adapter_config.json", peft_type="LORA")
    monkeypatch.setattr(adapters, "find_spec", lambda name: None if name == "peft" else find_spec(name))
    with pytest.raises(HengyuError, match=r"pip install 'hengyu\[peft\]'"):
        open_encoder(EncoderSpec(str(alone)))


# --- the fingerprint ---

_OPEN = 0x20


@contextmanager
def opened(root: Path) -> Iterator[set[str]]:
    """Collect the files below a folder that this process opens, by Python or by native code: the kernel says so."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_NONBLOCK)
    places = {}
    for folder in (root, *(p for p in root.rglob("*") if p.is_dir())):
        places[libc.inotify_add_watch(fd, os.fsencode(folder), _OPEN)] = folder
    found: set[str] = set()
    try:
        yield found
        while True:
            try:
                data = os.read(fd, 1 << 16)
            except BlockingIOError:
                break
            at = 0
            while at < len(data):
                watch, mask, _, size = struct.unpack_from("iIII", data, at)
                name = data[at + 16 : at + 16 + size].rstrip(b"\0").decode()
                if name and not mask & 0x40000000:  # no folder
                    found.add((places[watch] / name).relative_to(root).as_posix())
                at += 16 + size
    finally:
        os.close(fd)


def flip(path: Path) -> None:
    """Change the last byte of a file that is no white space."""
    data = bytearray(path.read_bytes())
    at = max((i for i, byte in enumerate(data) if byte not in b" \n"), default=0)
    data[at] ^= 1
    path.write_bytes(bytes(data))


def sharded(folder: Path, bert: Path) -> Path:
    from transformers import AutoModel

    copy(bert, folder)
    (folder / "model.safetensors").unlink()
    AutoModel.from_pretrained(bert).save_pretrained(folder, max_shard_size="30KB")
    return folder


def spiece(folder: Path, bert: Path) -> Path:
    """A folder in which the vocabulary lies beside tokenizer.json, in files of every name."""
    pooled(folder, bert)
    for name in ("spiece.model", "vocab.json", "merges.txt", "chat_template.jinja"):
        (folder / name).write_text("{}", encoding="utf-8")
    return folder


def in_onnx(folder: Path, bert: Path) -> Path:
    folder.mkdir()
    copy(bert, folder / "onnx")
    modules(folder, ("onnx", f"{OWN}Transformer"), ("openvino", f"{OWN}Pooling"))
    write(folder / "openvino" / "config.json", {"word_embedding_dimension": WIDTH, "pooling_mode_max_tokens": True})
    return folder


def named_readme(folder: Path, bert: Path) -> Path:
    """Weights and a module in files and folders called README*, which the index and modules.json name."""
    pooled(folder, bert, ("README_2", f"{OWN}Dense"))
    (folder / "model.safetensors").rename(folder / "README-1.safetensors")
    from safetensors import safe_open

    with safe_open(folder / "README-1.safetensors", "np") as file:
        shards = dict.fromkeys(file.keys(), "README-1.safetensors")
    write(folder / "model.safetensors.index.json", {"metadata": {"total_size": 1}, "weight_map": shards})
    from safetensors.numpy import save_file

    write(folder / "README_2" / "config.json", {"in_features": WIDTH, "out_features": 4, "bias": False})
    save_file({"linear.weight": np.ones((4, WIDTH), np.float32)}, folder / "README_2" / "model.safetensors")
    return folder


def beside(folder: Path, bert: Path) -> Path:
    folders.adapter(folder, bert)
    shutil.copytree(bert, folder, dirs_exist_ok=True)
    return folder


FOLDERS: dict[str, Callable[[Path, Path], Path]] = {
    "plain": lambda folder, bert: copy(bert, folder),
    "pooled": lambda folder, bert: pooled(folder, bert, pooling_mode_cls_token=True),
    "dense": lambda folder, bert: saved(folder, bert, *tail("words", "mean", "layernorm", "dense")),
    "sharded": sharded,
    "vocabularies": spiece,
    "onnx": in_onnx,
    "README": named_readme,
    "static": static,
    "router": lambda folder, bert: router(folder, bert, dense=True),
    "adapter": folders.adapter,
    "adapter beside": beside,
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_the_fingerprint_is_of_what_loading_opens(tmp_path: Path, tiny_bert: Path, kind: str) -> None:
    folder = FOLDERS[kind](tmp_path / "m", tiny_bert)
    (folder / "README.md").write_text("# A model\n", encoding="utf-8")
    for name in ("notes.txt", "eval.json", ".git/config", "runs/events.json", "pytorch_model.bin", "onnx/model.onnx"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"{}")

    def fingerprint() -> str:
        return ModelFolder(folder, EncoderSpec(str(folder)), identifier="m").fingerprint

    with opened(folder) as found:
        native(folder)
    covered = set(ModelFolder(folder, EncoderSpec(str(folder)), identifier="m").loaded)
    assert found and found <= covered, found - covered
    before = fingerprint()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        kept, inside = path.read_bytes(), path.relative_to(folder).as_posix()
        if inside in covered:
            if path.suffix == ".json":
                path.write_bytes(kept + b"\n")
            else:
                flip(path)
        else:
            path.write_bytes(b"[]" + kept)
        assert (fingerprint() != before) == (inside in covered), inside
        path.write_bytes(kept)
    assert fingerprint() == before


def test_the_names_of_tokenizers_files_are_known() -> None:
    """All that the installed transformers reads a vocabulary from, read off its source."""
    import re

    import transformers

    names: set[str] = set()
    for path in Path(transformers.__file__).parent.glob("models/*/tokenization_*.py"):
        for block in re.findall(r"VOCAB_FILES_NAMES\s*=\s*\{(.*?)\}", path.read_text(encoding="utf-8"), re.S):
            names |= set(re.findall(r':\s*"([^"]+)"', block))
    assert len(names) > 15
    assert not {n for n in names if not TOKENIZER.match(n)}


def test_the_links_of_the_hub_cache_are_followed(tmp_path: Path, tiny_bert: Path) -> None:
    snapshot = tmp_path / "models--owner--m" / "snapshots" / ("a" * 40)
    blobs = tmp_path / "models--owner--m" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted(tiny_bert.iterdir())):
        blob = blobs / f"{number:064x}"
        shutil.copy(path, blob)
        (snapshot / path.name).symlink_to(Path("../../blobs") / blob.name)
    ours = open_encoder(EncoderSpec(str(snapshot)))
    assert ours.folder.fingerprint == open_encoder(EncoderSpec(str(tiny_bert))).folder.fingerprint
    linked = tmp_path / "linked"
    linked.symlink_to(tiny_bert)
    assert open_encoder(EncoderSpec(str(linked))).folder.fingerprint == ours.folder.fingerprint


# --- what is refused, in a sentence ---


def refused(folder: Path, said: str) -> None:
    with pytest.raises(HengyuError, match=said) as caught:
        open_encoder(EncoderSpec(str(folder))).encode(["好"], ["native"])
    assert str(folder) in str(caught.value) or folder.name in str(caught.value)
    assert len(caught.value.problems) == 1


def test_a_trainers_output_folder_names_its_last_checkpoint(tmp_path: Path, tiny_bert: Path) -> None:
    folder = tmp_path / "out"
    for step in (500, 1500, 1000):
        copy(tiny_bert, folder / f"checkpoint-{step}")
    (folder / "checkpoint-old").mkdir()
    refused(folder, "Trainer's output folder.*checkpoint-1500")
    assert native(folder / "checkpoint-500").shape == (len(TEXTS), WIDTH)


def test_a_reranker_is_named_a_cross_encoder(tmp_path: Path, tiny_bert: Path) -> None:
    folder = copy(tiny_bert, tmp_path / "m")
    merge(folder / "config.json", architectures=["BertForSequenceClassification"], id2label={"0": "LABEL_0"})
    refused(folder, "is a cross-encoder")
    assert ModelFolder(folder, EncoderSpec(str(folder)), identifier="m").is_cross_encoder
    merge(folder / "config.json", id2label={"0": "no", "1": "yes"})
    assert not open_encoder(EncoderSpec(str(folder))).folder.is_cross_encoder
    scored = pooled(tmp_path / "scored", tiny_bert)
    write(scored / "config_sentence_transformers.json", {"model_type": "CrossEncoder"})
    refused(scored, "is a cross-encoder")
    judged = pooled(tmp_path / "judged", tiny_bert)
    modules(judged, ("", f"{OWN}Transformer"), ("1_S", "sentence_transformers.cross_encoder.modules.LogitScore"))
    refused(judged, "is a cross-encoder")
    modules(judged, ("", "evil.Transformer"), ("1_S", "sentence_transformers.cross_encoder.modules.LogitScore"))
    refused(judged, "runs its own code")


def test_sparse_and_late_interaction_models_are_named(tmp_path: Path, tiny_bert: Path) -> None:
    folder = pooled(tmp_path / "m", tiny_bert)
    sparse = "sentence_transformers.sparse_encoder."
    modules(folder, ("", f"{sparse}models.MLMTransformer"), ("1_Pooling", f"{sparse}models.SpladePooling"))
    refused(folder, "is a sparse model")
    modules(folder, ("", f"{OWN}Transformer"), ("1_Dense", "pylate.models.Dense.Dense"))
    refused(folder, "is a late-interaction model")
    modules(folder, ("", f"{OWN}Transformer"))
    refused(folder, "no Pooling.*late-interaction")
    modules(folder, ("1_Pooling", f"{OWN}Pooling"))
    refused(folder, "does not accept texts")


def test_a_router_without_a_default_route_is_refused(tmp_path: Path, tiny_bert: Path) -> None:
    folder = router(tmp_path / "m", tiny_bert)
    place = next(folder.rglob("router_config.json"))
    content = json.loads(place.read_bytes())
    for parameters, said in (
        ({"default_route": None, "allow_empty_key": False}, "Router without a default route.*document, query"),
        ({"default_route": "passage"}, "default_route 'passage' is not one of its routes"),
        ({"default_route": ["query"]}, "default_route"),
    ):
        write(place, content | {"parameters": parameters})
        refused(folder, said)


def test_a_tokenizer_of_pieces_alone_names_sentencepiece(
    tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy(tiny_bert, tmp_path / "m")
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).unlink()
    (folder / "spiece.model").write_bytes(b"\n")
    monkeypatch.setattr(kinds, "find_spec", lambda name: None if name == "sentencepiece" else find_spec(name))
    refused(folder, "needs the package sentencepiece; run: pip install sentencepiece")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("sentence_bert_config.json", {"max_seq_length": -5}, "max_seq_length -5 must be a number of tokens above 0"),
        ("sentence_bert_config.json", {"max_seq_length": "128"}, "max_seq_length '128'"),
        ("sentence_bert_config.json", {"max_seq_length": True}, "max_seq_length True"),
        ("sentence_bert_config.json", {"max_seq_length": 10**400}, "max_seq_length 1000"),
        (
            "config_sentence_transformers.json",
            {"default_prompt_name": ["q"], "prompts": {"q": "a"}},
            "'default_prompt_name'",
        ),
        (
            "config_sentence_transformers.json",
            {"default_prompt_name": "p", "prompts": {"q": "a"}},
            "one of its prompts",
        ),
        ("config_sentence_transformers.json", {"prompts": ["q"]}, "'prompts' must map"),
        ("config_sentence_transformers.json", {"prompts": {"q": 1}}, "'prompts' must map"),
        ("config_sentence_transformers.json", {"truncate_dim": -3}, "'truncate_dim' must be"),
        ("config_sentence_transformers.json", {"truncate_dim": "8"}, "'truncate_dim' must be"),
        ("config_sentence_transformers.json", [], "must hold a JSON object"),
        ("config.json", {"hidden_size": "32"}, "'hidden_size' must be a whole number"),
        ("modules.json", {}, "must be a list of modules"),
        ("modules.json", [{"type": 7, "path": ""}], "must be a list of modules"),
        ("modules.json", [{"type": "x", "path": ["a"]}], "must be a string"),
        ("model.safetensors.index.json", {"weight_map": []}, "'weight_map' must name"),
        ("model.safetensors.index.json", {"weight_map": {"a": 3}}, "'weight_map' must name"),
        ("model.safetensors.index.json", {"weight_map": {"a": "b.safetensors"}}, "which is missing"),
    ],
)
def test_values_of_the_wrong_kind_are_one_sentence(
    tmp_path: Path, tiny_bert: Path, file: str, content: Any, said: str
) -> None:
    folder = pooled(tmp_path / "m", tiny_bert)
    if "index" in file:
        (folder / "model.safetensors").unlink()
    if file == "config.json":
        merge(folder / file, **content)
    else:
        write(folder / file, content)
    refused(folder, said)


STRANGE: tuple[Any, ...] = (None, True, -1, 0, 1e308, "", "x", [], [1], {}, {"a": 1}, ["x"], "../../etc")


def test_no_value_of_a_key_is_a_traceback(tmp_path: Path, tiny_bert: Path) -> None:
    """A key of a configuration file at a time, with a value of another kind; HENGYU_SOAK=N tries N times as many."""
    whole = saved(tmp_path / "whole", tiny_bert, *tail("mean", "dense", "normalize"), prompts={"q": "a"})
    routed = router(tmp_path / "routed", tiny_bert)
    alone = folders.adapter(tmp_path / "alone", tiny_bert)
    shutil.copy(tiny_bert / "tokenizer.json", alone)
    soak = os.environ.get("HENGYU_SOAK", "")
    rng = np.random.default_rng(int(soak or 0))
    for _ in range(24 * int(soak or 1)):
        folder = (whole, whole, routed, alone)[rng.integers(4)]
        files = sorted(p for p in folder.rglob("*.json") if p.name != "tokenizer.json")
        path = files[rng.integers(len(files))]
        kept = path.read_bytes()
        content = json.loads(kept)
        found = places(content)
        place, value = found[rng.integers(len(found))], STRANGE[rng.integers(len(STRANGE))]
        write(path, put(content, place, value))
        try:
            vectors = native(folder)
        except HengyuError as e:
            assert len(e.problems) == 1, (path, place, value)
        except Exception as e:
            raise AssertionError((path, place, value)) from e
        else:
            assert len(vectors) == len(TEXTS)
        path.write_bytes(kept)


def places(content: Any) -> list[tuple[Any, ...]]:
    """Return the way to every value of a JSON document."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [()] + [(key, *rest) for key, value in items for rest in places(value)]


def put(content: Any, place: tuple[Any, ...], value: Any) -> Any:
    """Return the document with another value at a place."""
    if not place:
        return value
    copied = dict(content) if isinstance(content, dict) else list(content)
    copied[place[0]] = put(content[place[0]], place[1:], value)
    return copied


def test_activations_are_built_without_arguments() -> None:
    from importlib import import_module

    import torch

    for name in sorted(ACTIVATIONS):
        module, _, word = name.rpartition(".")
        assert issubclass(getattr(import_module(module), word), torch.nn.Module)
        getattr(import_module(module), word)()(torch.zeros(2, 3))
