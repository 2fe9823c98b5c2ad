"""Encoders: poolings against a plain forward pass and sentence-transformers, and models that are refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from hengyu.base.errors import HengyuError
from hengyu.base.progress import silent
from hengyu.bench.encode import encode_missing
from hengyu.encoders import EncoderSpec, open_encoder, probes
from hengyu.storage.vectors import VectorStore

TEXTS = [
    "今天天气真好，我们去公园散步吧。",
    "他",
    "不是他，是她",
    "今天天气真好，我们去公园散步吧。",
    "",
    "学生们都在学习数学和语文",
]
PLAIN = ("cls", "pooler", "mean", "first-last-mean", "embedding-last-mean", "last2-mean")


def reference(folder: Path, texts: list[str]) -> dict[str, np.ndarray]:
    """Every pooling, one text at a time, as the papers define it."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    rows: dict[str, list[np.ndarray]] = {p: [] for p in PLAIN}
    for text in texts:
        with torch.inference_mode():
            out = model(**tokenizer(text, return_tensors="pt", truncation=True), output_hidden_states=True)
        h = [x[0].numpy() for x in out.hidden_states]
        rows["cls"].append(h[-1][0])
        rows["pooler"].append(out.pooler_output[0].numpy())
        rows["mean"].append(h[-1].mean(0))
        rows["first-last-mean"].append((h[1].mean(0) + h[-1].mean(0)) / 2)
        rows["embedding-last-mean"].append((h[0].mean(0) + h[-1].mean(0)) / 2)
        rows["last2-mean"].append((h[-2].mean(0) + h[-1].mean(0)) / 2)
    return {p: np.stack(v) for p, v in rows.items()}


def test_all_poolings_from_one_pass_equal_a_plain_forward_pass(tiny_bert: Path) -> None:
    ours = open_encoder(EncoderSpec(str(tiny_bert))).encode(TEXTS, [*PLAIN, "native"])
    theirs = reference(tiny_bert, TEXTS)
    for pooling in PLAIN:
        assert np.abs(ours[pooling] - theirs[pooling]).max() < 1e-5, pooling
    assert (ours["native"] == ours["mean"]).all()


def test_a_text_does_not_depend_on_those_beside_it(tiny_bert: Path) -> None:
    encoder = open_encoder(EncoderSpec(str(tiny_bert)))
    together = encoder.encode(TEXTS, ["mean"])["mean"]
    for i, text in enumerate(TEXTS):
        assert np.abs(encoder.encode([text], ["mean"])["mean"][0] - together[i]).max() < 1e-5


def test_texts_of_the_same_tokens_have_the_same_vector(tiny_bert: Path) -> None:
    from hengyu.numerics.similarity import cosines

    texts = ["今天天气真好", "ABC", "abc", "我们鬱", "我们鬯", "今天 天气真好", "老人"]
    vectors = open_encoder(EncoderSpec(str(tiny_bert))).encode(texts, ["mean"])["mean"]
    for a, b in ((0, 5), (1, 2), (3, 4)):
        assert (vectors[a] == vectors[b]).all()
    assert cosines(vectors, np.array([0, 1, 3]), np.array([5, 2, 4])).tolist() == [1.0, 1.0, 1.0]


def test_padding_never_counts() -> None:
    import torch

    from hengyu.encoders.pooling import pool

    hidden = [torch.randn(2, 5, 4) for _ in range(4)]
    mask = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]])
    names = ["cls", "mean", "first-last-mean", "embedding-last-mean", "last2-mean"]
    padded = pool(hidden, mask, names)
    for row, kept in ((0, slice(0, 3)), (1, slice(2, 5))):
        alone = pool([h[row : row + 1, kept] for h in hidden], torch.ones(1, 3), names)
        for name in names:
            assert torch.allclose(padded[name][row], alone[name][0], atol=1e-6), name


def saved_with(tmp_path: Path, tiny_bert: Path, *tail: str) -> Path:
    """Save a sentence-transformers folder with the named modules after the transformer."""
    from sentence_transformers import SentenceTransformer, models

    body = models.Transformer(str(tiny_bert))
    width = 32
    make = {
        "mean": lambda: models.Pooling(width, pooling_mode="mean"),
        "cls": lambda: models.Pooling(width, pooling_mode="cls"),
        "max": lambda: models.Pooling(width, pooling_mode="max"),
        "normalize": models.Normalize,
        "dense": lambda: models.Dense(width, 8),
    }
    model = SentenceTransformer(modules=[body, *(make[t]() for t in tail)], device="cpu")
    model.save_pretrained(str(tmp_path / "st"), safe_serialization=True)
    return tmp_path / "st"


@pytest.mark.parametrize("tail", [("mean",), ("cls", "normalize"), ("max",), ("mean", "dense", "normalize")])
def test_native_is_what_sentence_transformers_gives(tmp_path: Path, tiny_bert: Path, tail: tuple[str, ...]) -> None:
    from sentence_transformers import SentenceTransformer

    folder = saved_with(tmp_path, tiny_bert, *tail)
    ours = open_encoder(EncoderSpec(str(folder))).encode(TEXTS, ["native", "cls"])
    theirs = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    assert np.abs(ours["native"] - theirs).max() < 1e-5
    assert np.abs(ours["cls"] - reference(tiny_bert, TEXTS)["cls"]).max() < 1e-5


def test_the_built_in_encoder_is_what_sentence_transformers_gives() -> None:
    import torch
    from sentence_transformers import SentenceTransformer

    encoder = open_encoder(EncoderSpec("hengyu-mini"))
    folder = encoder.folder.path  # type: ignore[attr-defined]
    theirs = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32}).encode(
        list(probes())
    )
    assert np.abs(encoder.encode(list(probes()), ["mean"])["mean"] - theirs).max() < 1e-5
    assert "no pooler" in encoder.poolings["pooler"]
    with pytest.raises(HengyuError, match="no pooler"):
        encoder.encode(["好"], ["pooler"])


def test_long_texts_are_cut_and_counted(tmp_path: Path, tiny_bert: Path) -> None:
    encoder = open_encoder(EncoderSpec(str(tiny_bert), max_length=8))
    texts = ["今天天气真", "今天天气真好", "今天天气真好啊", "今鬱鬱"]
    vectors = encode_missing(VectorStore(tmp_path), encoder, texts, ["mean"], silent)
    counts = vectors.get("tokens", np.arange(4))
    assert counts.tolist() == [[5, 0, 0], [6, 0, 0], [6, 0, 1], [3, 2, 0]]
    assert vectors.coverage(np.array([2, 3])) == {"unk": pytest.approx(2 / 9, abs=1e-6), "truncated": 0.5}


def test_mask_pooling_takes_the_vector_of_the_mask(tiny_bert: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    prompt = "“{text}”的意思是[MASK]。"
    ours = open_encoder(EncoderSpec(str(tiny_bert), prompt=prompt)).encode(["今天天气真好"], ["mask"])["mask"]
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    batch = tokenizer(prompt.replace("{text}", "今天天气真好"), return_tensors="pt")
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(tiny_bert).eval()(**batch).last_hidden_state[0]
    at = batch["input_ids"][0].tolist().index(tokenizer.mask_token_id)
    assert np.abs(ours[0] - hidden[at].numpy()).max() < 1e-5
    assert "mask token" in open_encoder(EncoderSpec(str(tiny_bert))).poolings["mask"]
    assert (
        "does not contain the model's mask token"
        in open_encoder(EncoderSpec(str(tiny_bert), prompt="意思：")).poolings["mask"]
    )


def test_jieba_takes_whole_words_of_the_vocabulary(tmp_path: Path, tiny_bert: Path) -> None:
    from hengyu.encoders.model_folder import ModelFolder
    from hengyu.encoders.tokenizer import Tokenizer

    pytest.importorskip("jieba")
    folder = tmp_path / "words"
    shutil.copytree(tiny_bert, folder)
    from transformers import BertTokenizer

    words = [*(folder / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1], "今天", "公园"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    (folder / "tokenizer.json").unlink()
    BertTokenizer(str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    spec = EncoderSpec(str(folder), pre_tokenizer="jieba")
    tokenizer = Tokenizer(ModelFolder(folder, spec, identifier="words"))
    (row,), counts = tokenizer(["今天去公园"])
    assert row[1:-1] == [words.index("今天"), words.index("去"), words.index("公园")]
    assert counts[0].tolist() == [3, 0, 0]


def broken(tmp_path: Path, tiny_bert: Path) -> Path:
    folder = tmp_path / "broken"
    shutil.copytree(tiny_bert, folder)
    return folder


def test_models_that_cannot_be_used_are_refused_with_a_sentence(tmp_path: Path, tiny_bert: Path) -> None:
    folder = broken(tmp_path, tiny_bert)
    (folder / "model.safetensors").rename(tmp_path / "away.safetensors")
    with pytest.raises(HengyuError, match="has no weights"):
        open_encoder(EncoderSpec(str(folder)))
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(HengyuError, match="pickled weights are never loaded"):
        open_encoder(EncoderSpec(str(folder)))
    (folder / "model.safetensors").write_bytes((tmp_path / "away.safetensors").read_bytes()[:1000])
    with pytest.raises(HengyuError, match="not a complete safetensors file"):
        _ = open_encoder(EncoderSpec(str(folder))).poolings
    with pytest.raises(HengyuError, match="no such folder"):
        open_encoder(EncoderSpec(str(tmp_path / "nowhere")))
    with pytest.raises(HengyuError, match="network is off"):
        open_encoder(EncoderSpec("somebody/some-model"))
    with pytest.raises(HengyuError, match="limit of 64 tokens"):
        open_encoder(EncoderSpec(str(tiny_bert), max_length=100)).identity()
    with pytest.raises(HengyuError, match="dtype 'fp8' is unknown"):
        open_encoder(EncoderSpec(str(tiny_bert), dtype="fp8"))


def test_code_of_a_models_own_is_refused_for_local_folders_too(tmp_path: Path, tiny_bert: Path) -> None:
    folder = broken(tmp_path, tiny_bert)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Model"}}))
    with pytest.raises(HengyuError, match="its own code.*--trust-remote-code"):
        open_encoder(EncoderSpec(str(folder)))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": "evil.Transformer"}]))
    with pytest.raises(HengyuError, match=r"its own code \(evil.Transformer\)"):
        open_encoder(EncoderSpec(str(folder)))
    own = {"idx": 0, "name": "0", "path": "../..", "type": "sentence_transformers.models.Transformer"}
    (folder / "modules.json").write_text(json.dumps([own]))
    with pytest.raises(HengyuError, match="leads out of the folder"):
        open_encoder(EncoderSpec(str(folder)))


def test_weights_that_do_not_fit_are_refused(tmp_path: Path, tiny_bert: Path) -> None:
    folder = broken(tmp_path, tiny_bert)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 5}))
    with pytest.raises(HengyuError, match="do not fit its config.json"):
        open_encoder(EncoderSpec(str(folder))).encode(["好"], ["mean"])


def test_a_vocabulary_that_knows_nothing_is_refused(tmp_path: Path, tiny_bert: Path) -> None:
    encoder = open_encoder(EncoderSpec(str(tiny_bert)))
    with pytest.raises(HengyuError, match=r"100% of the tokens into \[UNK\]"):
        encode_missing(VectorStore(tmp_path), encoder, ["鬱靐龘", "饕餮"], ["mean"], silent)
