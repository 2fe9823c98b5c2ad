"""What a folder, a tokenizer or a model's code may do that BERT does not: each against sentence-transformers, or by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.families import POSITIONS, save_family, save_tokenizer

from hengyu.base.errors import HengyuError
from hengyu.base.progress import silent
from hengyu.bench.encode import encode_missing
from hengyu.cli import main
from hengyu.encoders import EncoderFailed, EncoderSpec, Unavailable, open_encoder, pooling_name
from hengyu.encoders.huggingface import HuggingFace
from hengyu.storage.records import Run, load_run
from hengyu.storage.vectors import VectorStore

TEXTS = ["今天气真好", "我们去公园散步吧，a不是b", "他"]
LONG = "今天气真好我们去公园散步吧" * 4


def write(path: Path, **values: Any) -> None:
    """Set keys of a JSON file."""
    found = json.loads(path.read_text()) if path.is_file() else {}
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(json.dumps(found | values))


def sentence_folder(folder: Path, pooling: dict[str, Any], **config: Any) -> Path:
    """Make a sentence-transformers folder of a transformer's."""
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling")]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    write(folder / "1_Pooling/config.json", **({"word_embedding_dimension": 32} | pooling))
    write(folder / "config_sentence_transformers.json", **config)
    return folder


def library(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def one_by_one(folder: Path, texts: list[str]) -> np.ndarray:
    model = library(folder)
    return np.stack([model.encode(text, show_progress_bar=False) for text in texts])


def native(folder: Path, texts: list[str], **spec: Any) -> np.ndarray:
    return open_encoder(EncoderSpec(str(folder), device="cpu", **spec)).encode(texts, ["native"])["native"]


def token_states(folder: Path, ids: list[int], **given: Any) -> np.ndarray:
    import torch
    from transformers import AutoModel

    with torch.inference_mode():
        output = AutoModel.from_pretrained(folder).eval()(input_ids=torch.tensor([ids]), **given)
    found: np.ndarray = output.last_hidden_state[0].numpy()
    return found


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    save_family(tmp_path / "llama", "llama")
    return tmp_path / "llama"


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    save_family(tmp_path / "bert", "bert")
    return tmp_path / "bert"


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize(
    ("ours", "theirs"), [("mean", "mean"), ("cls", "cls"), ("last", "lasttoken"), ("weighted-mean", "weightedmean")]
)
def test_poolings_are_the_librarys_with_padding_on_either_side(ours: str, theirs: str, left: bool) -> None:
    import torch
    from sentence_transformers.models import Pooling

    from hengyu.encoders.pooling import pool

    torch.manual_seed(1)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]])
    mask = mask.flip(1) if left else mask
    states = torch.randn(3, 5, 4)
    wanted = Pooling(4, theirs)({"token_embeddings": states, "attention_mask": mask})["sentence_embedding"]
    assert torch.allclose(pool([states], mask, [ours])[ours], wanted, atol=1e-6)


@pytest.mark.parametrize("mode", ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"])
@pytest.mark.parametrize("prompted", [True, False])
@pytest.mark.parametrize("trailing", [True, False])
def test_native_is_the_librarys_for_every_mode_and_prompt(
    tmp_path: Path, mode: str, prompted: bool, trailing: bool
) -> None:
    save_family(tmp_path, "bert", trailing=trailing)
    prompts = {"prompts": {"query": "我们，"}, "default_prompt_name": "query"}
    sentence_folder(tmp_path, {"pooling_mode": mode, "include_prompt": prompted}, **prompts)
    assert np.abs(native(tmp_path, TEXTS) - one_by_one(tmp_path, TEXTS)).max() < 1e-6


def test_a_folder_that_cuts_its_columns_gives_as_many(bert: Path) -> None:
    sentence_folder(bert, {"pooling_mode": "mean"}, truncate_dim=8)
    ours = native(bert, TEXTS)
    assert ours.shape == (3, 8)
    assert np.abs(ours - one_by_one(bert, TEXTS)).max() < 1e-6
    encoder = open_encoder(EncoderSpec(str(bert)))
    assert encoder.native_is == ""
    assert encoder.encode(TEXTS, ["mean"])["mean"].shape == (3, 32)


def test_the_last_states_are_read_where_they_are_not_the_last_blocks(llama: Path) -> None:
    write(llama / "config.json", tie_last_hidden_states=False)
    encoder = open_encoder(EncoderSpec(str(llama)))
    ours = encoder.encode(TEXTS[:1], ["mean", "last2-mean"])
    ids = encoder.tokenizer(TEXTS[:1])[0][0]
    import torch
    from transformers import AutoModel

    with torch.inference_mode():
        output = AutoModel.from_pretrained(llama).eval()(input_ids=torch.tensor([ids]), output_hidden_states=True)
    last, before = output.last_hidden_state[0].mean(0), output.hidden_states[-2][0].mean(0)
    assert (output.hidden_states[-1][0].mean(0) - last).abs().max() > 0.01
    assert np.abs(ours["mean"][0] - last.numpy()).max() < 1e-6
    assert np.abs(ours["last2-mean"][0] - (last + before).numpy() / 2).max() < 1e-6


def test_token_types_are_passed_where_the_tokenizer_gives_them(tmp_path: Path) -> None:
    save_family(tmp_path, "xlnet", types=(0, 2))
    encoder = open_encoder(EncoderSpec(str(tmp_path), device="cpu"))
    assert encoder.tokenizer.typed
    ours = encoder.encode(TEXTS, ["native"])["native"]
    assert np.abs(ours - one_by_one(tmp_path, TEXTS)).max() < 1e-6
    padded = encoder.encode_padded(TEXTS, LONG[:20], ["native"])["native"]
    assert np.abs(ours - padded).max() < 1e-5
    ids = encoder.tokenizer(TEXTS[:1])[0][0]
    assert np.abs(token_states(tmp_path, ids).mean(0) - ours[0]).max() > 1e-3  # without them it would be another vector


def test_a_chat_template_stands_around_texts_as_in_the_library(llama: Path) -> None:
    template = "{% for m in messages %}我{{ m['content'] if m['content'] is string else m['content'][0]['text'] }}他{% endfor %}"
    write(llama / "tokenizer_config.json", chat_template=template)
    encoder = open_encoder(EncoderSpec(str(llama), device="cpu"))
    assert encoder.native_is == ""
    ours = encoder.encode(TEXTS, ["native", "mean"])
    assert np.abs(ours["native"] - one_by_one(llama, TEXTS)).max() < 1e-6
    assert np.abs(ours["native"] - ours["mean"]).max() > 0.01


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("longest", [8, 30])
def test_long_texts_are_cut_as_the_library_does(bert: Path, side: str, longest: int) -> None:
    """Also with max_seq_length above the tokenizer's limit, which is 20."""
    write(bert / "tokenizer_config.json", truncation_side=side, model_max_length=20)
    sentence_folder(bert, {"pooling_mode": "mean"})
    write(bert / "sentence_bert_config.json", max_seq_length=longest)
    encoder = open_encoder(EncoderSpec(str(bert)))
    assert encoder.folder.max_length == longest
    assert np.abs(native(bert, [LONG]) - one_by_one(bert, [LONG])).max() < 1e-6
    (row,), counts = encoder.tokenizer([LONG])
    words = encoder.tokenizer.vocabulary
    inside = LONG[: longest - 2] if side == "right" else LONG[-(longest - 2) :]
    assert row == [1, *(words[c] for c in inside), 2]
    assert counts[0].tolist() == [longest - 2, 0, 1]


def test_a_template_keeps_both_ends_on_either_side(bert: Path) -> None:
    write(bert / "tokenizer_config.json", truncation_side="left", model_max_length=10)
    encoder = open_encoder(EncoderSpec(str(bert), prompt="我们{text}他"))
    words = encoder.tokenizer.vocabulary
    (row,), _ = encoder.tokenizer([LONG])
    assert row == [1, words["我"], words["们"], *(words[c] for c in LONG[-5:]), words["他"], 2]


def test_no_token_stands_beyond_the_positions(tmp_path: Path) -> None:
    for name, there in (
        ("gpt2", POSITIONS),
        ("roberta", POSITIONS - 2),
        ("mpnet", POSITIONS - 2),
        ("xlnet", 1_000_000),
    ):
        folder = tmp_path / name
        save_family(folder, name, padding=1)
        assert open_encoder(EncoderSpec(str(folder))).folder.max_length == there, name
        with pytest.raises(HengyuError, match=f"limit of {there} tokens"):
            open_encoder(EncoderSpec(str(folder), max_length=there + 1)).identity()


def test_echo_is_the_mean_over_the_second_copy(llama: Path) -> None:
    encoder = open_encoder(EncoderSpec(str(llama)))
    vectors = encoder.encode([*TEXTS, TEXTS[0]], ["echo", "mean"])
    assert vectors["echo"].shape == (4, 32)
    assert (vectors["echo"][0] == vectors["echo"][3]).all()
    for text, vector in zip(TEXTS, vectors["echo"], strict=False):
        inside = [encoder.tokenizer.vocabulary[c] for c in text]
        states = token_states(llama, [1, *inside, *inside, 2])
        assert np.abs(states[1 + len(text) : 1 + 2 * len(text)].mean(0) - vector).max() < 1e-6
    assert np.abs(encoder.encode_padded(TEXTS, LONG[:15], ["echo"])["echo"] - vectors["echo"][:3]).max() < 1e-5


def test_echo_in_a_template_with_both_places(llama: Path) -> None:
    spec = EncoderSpec(str(llama), prompt="我{text}，{text}他", max_length=15)
    encoder = open_encoder(spec)
    assert [p for p, why in encoder.poolings.items() if not why] == ["echo"]
    assert "which only the pooling echo supports" in encoder.poolings["mean"]
    words = encoder.tokenizer.vocabulary
    for text, kept in (("今天", "今天"), (LONG, LONG[:5])):
        inside = [words[c] for c in kept]
        states = token_states(llama, [1, words["我"], *inside, words["，"], *inside, words["他"], 2])
        at = 3 + len(kept)
        wanted = states[at : at + len(kept)].mean(0)
        assert np.abs(encoder.encode([text], ["echo"])["echo"][0] - wanted).max() < 1e-6
    with pytest.raises(HengyuError, match="two copies of a text do not fit"):
        open_encoder(EncoderSpec(str(llama), prompt="我{text}，{text}他", max_length=6)).encode(["今"], ["echo"])


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma", "gpt2", "mistral"])
def test_bidirectional_attention_is_a_mask_that_hides_nothing(tmp_path: Path, name: str) -> None:
    import torch

    save_family(tmp_path, name)
    both = open_encoder(EncoderSpec(str(tmp_path), device="cpu", attention="bidirectional"))
    causal = open_encoder(EncoderSpec(str(tmp_path), device="cpu"))
    ours, usual = both.encode(TEXTS, ["mean", "cls"]), causal.encode(TEXTS, ["mean", "cls"])
    for i, row in enumerate(both.tokenizer(TEXTS)[0]):
        mask = torch.zeros(1, 1, len(row), len(row))
        states = token_states(tmp_path, row, attention_mask=mask)
        assert np.abs(states.mean(0) - ours["mean"][i]).max() < 1e-5
        assert np.abs(usual["cls"][i] - ours["cls"][i]).max() > 1e-3  # the first token reads the others now
    assert both.identity() == causal.identity() | {"attention": "bidirectional"}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("bert", "is bidirectional already"),
        ("mamba", "cannot be made bidirectional"),
        ("bart", "cannot be made bidirectional"),
    ],
)
def test_attention_that_cannot_be_opened_is_refused(tmp_path: Path, name: str, why: str) -> None:
    save_family(tmp_path, name)
    encoder = open_encoder(EncoderSpec(str(tmp_path), attention="bidirectional"))
    with pytest.raises(HengyuError, match=f"does not fit the architecture '{name}': .*{why}"):
        encoder.encode(TEXTS, ["mean"])
    with pytest.raises(HengyuError, match="attention 'sideways' is unknown"):
        open_encoder(EncoderSpec(str(tmp_path), attention="sideways"))


OWN_CODE = """
from transformers import BertModel
from transformers.utils import ModelOutput
from dataclasses import dataclass
import torch

@dataclass
class Given(ModelOutput):
    last_hidden_state: torch.Tensor | None = None

class Own(BertModel):
    def forward(self, input_ids, attention_mask):
        return Given(super().forward(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state)
"""


def test_code_that_gives_only_the_last_states_has_native_vectors(bert: Path) -> None:
    (bert / "own.py").write_text(OWN_CODE)
    write(bert / "config.json", auto_map={"AutoModel": "own.Own"})
    encoder = open_encoder(EncoderSpec(str(bert), trust_remote_code=True))
    vectors = encoder.encode(TEXTS, ["native", "cls", "last"])
    write(bert / "config.json", auto_map={})
    assert np.abs(vectors["native"] - one_by_one(bert, TEXTS)).max() < 1e-6
    write(bert / "config.json", auto_map={"AutoModel": "own.Own"})
    with pytest.raises(Unavailable, match="only the last hidden states") as e:
        encoder.encode(TEXTS, ["native", "first-last-mean", "last2-mean"])
    assert set(e.value.reasons) == {"first-last-mean", "last2-mean"}


def test_names_of_poolings_elsewhere_are_known() -> None:
    assert pooling_name("lasttoken") == pooling_name("pooling_mode_lasttoken") == pooling_name("last") == "last"
    assert pooling_name("weightedmean") == pooling_name("weighted_mean") == "weighted-mean"
    assert pooling_name("pooling_mode_mean_tokens") == "mean"
    assert pooling_name("lasst") == "lasst"


def test_a_sentencepiece_model_names_the_package_it_needs(bert: Path) -> None:
    pytest.importorskip("transformers")
    from importlib.util import find_spec

    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bert / name).unlink()
    (bert / "spiece.model").write_bytes(b"\n\x0e\n\x05<unk>")
    write(bert / "config.json", model_type="xlnet")
    said = "pip install sentencepiece" if find_spec("sentencepiece") is None else "cannot be loaded"
    with pytest.raises(HengyuError, match=said):
        open_encoder(EncoderSpec(str(bert))).read(TEXTS)


def card(folder: Path, texts: str = "今天气真好我们去公园散步吧不是他她它") -> Path:
    """Write a card of 40 pairs."""
    folder.mkdir()
    (folder / "mine.toml").write_text(
        'name = "mine"\nlabels = { scale = [0, 1], kind = "binary" }\nheader = false\n[splits.test]\nfile = "t.tsv"\n'
    )
    rng = np.random.default_rng(0)
    pick = lambda: "".join(rng.choice(list(texts), 4))  # noqa: E731
    (folder / "t.tsv").write_text("".join(f"{pick()}\t{pick()}\t{i % 2}\n" for i in range(40)), encoding="utf-8")
    return folder


def evaluate(tmp_path: Path, *encoders: Path, poolings: str = '["mean"]') -> tuple[Any, Run]:
    """Run a suite with the command line; returns what it said and the records."""
    cards = tmp_path / "cards"
    if not cards.is_dir():
        card(cards)
    suite = tmp_path / "s.toml"
    suite.write_text(
        f'tasks = ["mine:test"]\nencoders = {json.dumps([str(e) for e in encoders])}\npoolings = {poolings}\n'
        'entries = ["raw"]\nbaselines = []\nresamples = 20\n'
    )
    done = CliRunner().invoke(main, ["run", str(suite), "--datasets", str(cards), "--out", str(tmp_path / "out")])
    assert "Traceback" not in done.output
    (folder,) = (tmp_path / "out" / "records").iterdir()
    return done, load_run(folder)


def statuses(run: Run) -> dict[tuple[str, str], tuple[str, str]]:
    return {
        (r.encoder, r.pooling): (r.status, r.reason)
        for r in run.records
        if r.metric == "spearman" and r.task == "mine:test"
    }


def spoil(folder: Path) -> None:
    """Put NaN into the embedding of one character."""
    from safetensors.numpy import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    name = next(n for n in weights if "word_embeddings" in n or "embed_tokens" in n)
    weights[name][7] = np.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_vectors_that_are_not_finite_are_a_row_and_the_others_get_their_board(
    bert: Path, llama: Path, tmp_path: Path
) -> None:
    spoil(bert)
    done, run = evaluate(tmp_path, bert, llama)
    assert done.exit_code == 2
    found = statuses(run)
    assert found["llama", "mean"][0] == "ok"
    status, reason = found["bert", "mean"]
    assert status == "failed"
    assert "the vector of the text '" in reason
    assert "NaN" in reason
    assert "encoder 'bert', mean: the vector of the text" in done.output


def test_a_vocabulary_of_another_language_is_known_before_anything_is_encoded(
    bert: Path, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tokenizer(bert, words="abcdefghijklmnopqrstuvwxyz")
    encoded: list[str] = []
    usual = HuggingFace._forward

    def noted(self: HuggingFace, *given: Any, **more: Any) -> Any:
        encoded.append(self.id)
        return usual(self, *given, **more)

    monkeypatch.setattr(HuggingFace, "_forward", noted)
    done, run = evaluate(tmp_path, bert, llama)
    assert done.exit_code == 2
    assert set(encoded) == {"llama"}
    assert statuses(run)["llama", "mean"][0] == "ok"
    status, reason = statuses(run)["bert", "mean"]
    assert status == "failed"
    assert "100% of the tokens into [UNK]" in reason


def test_an_encoder_that_cannot_be_loaded_is_a_row(bert: Path, llama: Path, tmp_path: Path) -> None:
    write(bert / "config.json", num_hidden_layers=5)
    nowhere = tmp_path / "nowhere"
    done, run = evaluate(tmp_path, bert, llama, nowhere)
    found = statuses(run)
    assert done.exit_code == 2
    assert found["llama", "mean"][0] == "ok"
    assert "weights do not fit" in found["bert", "mean"][1]
    assert "no such folder" in found[nowhere.name, "mean"][1]
    assert done.output.count("no such folder") >= 1


def test_a_pooling_that_a_model_has_not_is_a_row_beside_those_it_has(bert: Path, tmp_path: Path) -> None:
    save_family(tmp_path / "funnel", "funnel")
    _, run = evaluate(tmp_path, tmp_path / "funnel", bert, poolings='["lasttoken", "last2-mean", "native", "mean"]')
    found = statuses(run)
    assert found["funnel", "last"][0] == found["funnel", "mean"][0] == found["bert", "last2-mean"][0] == "ok"
    assert found["bert", "native"] == (
        "unavailable",
        "the vectors of 'mean' are the native ones; its rows show both",
    )


def test_what_was_encoded_before_a_failure_is_kept(bert: Path, tmp_path: Path) -> None:
    spoil(bert)  # 气
    encoder = open_encoder(EncoderSpec(str(bert)))
    store = VectorStore(tmp_path / "store")
    with pytest.raises(EncoderFailed, match="气"):
        encode_missing(store, encoder, ["今今今", "气"], ["mean"], silent)
    good = open_encoder(EncoderSpec(str(bert)))
    assert encode_missing(store, good, ["今今今"], ["mean"], silent).encoded == 0


def test_a_text_without_a_token_is_named(tmp_path: Path) -> None:
    save_family(tmp_path, "gpt2", framed=False)
    with pytest.raises(EncoderFailed, match="no tokens for the text ''"):
        open_encoder(EncoderSpec(str(tmp_path))).read(["今天", ""])


def test_selfcheck_says_broken_where_native_is_not_the_librarys(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hengyu.encoders.model_folder import ModelFolder
    from hengyu.tools.selfcheck.change import Excerpt
    from hengyu.tools.selfcheck.invariances import native as check
    from hengyu.tools.selfcheck.subject import Subject

    texts = tuple(dict.fromkeys([*TEXTS, "今天", "好"]))
    ids = np.arange(5)
    sample = Excerpt("mine:test", texts, ids, np.roll(ids, 1), np.arange(5.0))
    spec = EncoderSpec(str(bert))

    def status() -> str:
        return check(Subject(spec, open_encoder, sample, "mean")).status

    assert status() == "holds"  # a folder without modules, too
    sentence_folder(bert, {"pooling_mode": "mean"}, truncate_dim=8)
    assert status() == "holds"
    with monkeypatch.context() as patch:
        patch.setattr(HuggingFace, "_tail", lambda self, modules, output, last, given: last[:, 0])
        assert status() == "broken"
    sentence_folder(bert, {"pooling_mode": "mean"})
    write(bert / "config_sentence_transformers.json", truncate_dim=None)
    assert status() == "holds"
    monkeypatch.setattr(ModelFolder, "tail", ("cls", False))
    assert status() == "broken"
