"""Encoders without attention: padding, references, folders, pretraining; ALBERT's blocks apart; how matrices begin."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.words import sentences
from test_tuning import training_data_of
from torch import nn

from hengyu.base.errors import HengyuError
from hengyu.bench import score_pairs
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.encoders.cross import open_cross_encoder
from hengyu.encoders.without_attention import CLASSES, MODULE, code_of
from hengyu.encoders.without_attention.dgcnn import GatedConvolution
from hengyu.encoders.without_attention.fnet import waves
from hengyu.encoders.without_attention.gmlp import SpatialGate
from hengyu.methods.grammar import parse_entry
from hengyu.methods.training.drawing import draw, redraw
from hengyu.methods.training.model import TrainableEncoder
from hengyu.methods.training.pair_model import TrainablePairEncoder
from hengyu.methods.training.unsharing import shares_blocks, unshare
from hengyu.storage import identity
from hengyu.tools.pretraining import loop
from hengyu.tools.pretraining.architectures import body_of, head_of, make
from hengyu.tools.pretraining.job import pretrain
from hengyu.tools.pretraining.recipe import LAYERS, Pretraining

OURS = ("dgcnn", "gmlp", "fnet")
TINY = Pretraining(
    layers=2, width=16, heads=2, length=32, steps=6, positions=256, lr=3e-3, warmup=2, held_out=10, seen=2, dropout=0.0
)


def recipe(arch: str, **more: Any) -> Pretraining:
    return replace(TINY, arch=arch, layers=3, **more)


def strong(arch: str) -> Any:
    """Return an encoder whose weights are large, so that nothing hides below rounding."""
    torch.manual_seed(0)
    model = make(recipe(arch), 60, "cpu").eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return body_of(model)


def ids(*shape: int) -> torch.Tensor:
    return torch.randint(5, 60, shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    rows = [s for pair in sentences(np.random.default_rng(1), 60) for s in pair[:2]]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folders(corpus: Path) -> dict[str, Path]:
    """Return a folder of every architecture, trained for a few steps."""
    made = {a: pretrain([corpus], corpus.parent / a, recipe(a), dtype="float32").folder for a in (*OURS, "albert")}
    return made


# --- laws ---


@pytest.mark.parametrize("arch", OURS)
def test_states_depend_neither_on_padding_nor_on_other_texts(arch: str) -> None:
    model, text = strong(arch), ids(1, 9)
    alone = model(text).last_hidden_state
    rows = torch.cat([torch.cat([text, ids(1, 15)], 1), ids(1, 24)])  # what is padded over does not count either
    mask = torch.ones_like(rows)
    mask[0, 9:] = 0
    beside = model(rows, attention_mask=mask, output_hidden_states=True)
    torch.testing.assert_close(beside.last_hidden_state[:1, :9], alone, atol=2e-5, rtol=0)
    assert len(beside.hidden_states) == 4 and beside.hidden_states[-1] is beside.last_hidden_state
    whole = model(rows, attention_mask=torch.ones_like(rows)).last_hidden_state[:1, :9]
    assert float((whole - alone).detach().abs().max()) > 1e-2, "the mask changes nothing: nothing is held"
    with pytest.raises(ValueError, match="padding must be on the right"):
        model(rows, attention_mask=mask.flip(1))


@pytest.mark.parametrize("arch", OURS)
def test_tokens_meet(arch: str) -> None:
    """Every architecture reads the neighbours of a token: another token changes the states of others."""
    model, text = strong(arch), ids(1, 9)
    other = text.clone()
    other[0, 4] = (other[0, 4] + 1) % 50 + 5
    moved = (model(text).last_hidden_state - model(other).last_hidden_state).detach().abs().amax(-1)[0]
    assert bool((moved > 1e-4).all()), moved


def test_architectures_have_about_as_many_parameters_as_bert() -> None:
    sizes = {a: sum(p.numel() for p in body_of(make(Pretraining(arch=a), 7600, "cpu")).parameters()) for a in LAYERS}
    for arch in OURS:
        assert abs(sizes[arch] / sizes["bert"] - 1) < 0.03, sizes
    assert sizes["albert"] < 0.6 * sizes["bert"]
    assert sizes["bert"] == pytest.approx(5.1e6, rel=0.01)


# --- references ---


def test_fnet_is_that_of_transformers_without_padding() -> None:
    import transformers

    ours = strong("fnet")
    config = ours.config
    theirs = transformers.FNetModel(
        transformers.FNetConfig(
            vocab_size=config.vocab_size, hidden_size=config.hidden_size, num_hidden_layers=config.num_hidden_layers,
            intermediate_size=config.intermediate_size, hidden_act="gelu", max_position_embeddings=32, pad_token_id=0,
        ),
        add_pooling_layer=False,
    ).eval()  # fmt: skip
    renamed = {
        "mixed_norm": "fourier.output.LayerNorm",
        "widen": "intermediate.dense",
        "narrow": "output.dense",
        "norm": "output.LayerNorm",
    }
    state = {}
    for name, value in ours.state_dict().items():
        where, _, rest = name.partition(".")
        if where == "layers":
            number, part, last = rest.split(".")
            name = f"encoder.layer.{number}.{renamed[part]}.{last}"
        state[name] = value
    state["embeddings.token_type_embeddings.weight"] = torch.zeros(4, config.hidden_size)
    theirs.load_state_dict(state, strict=True)
    for size in (2, 7, 32):
        text = ids(3, size)
        torch.testing.assert_close(ours(text).last_hidden_state, theirs(text).last_hidden_state, atol=2e-5, rtol=0)


def test_the_transform_of_a_row_is_as_long_as_its_text() -> None:
    mask = torch.tensor([[1.0] * 5 + [0.0] * 3, [1.0] * 8])
    x = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0))
    cosine, sine = waves(mask).chunk(2, dim=2)
    for row, size in ((0, 5), (1, 8)):
        wanted = torch.fft.fft(x[row, :size], dim=0)
        found = torch.complex(cosine[row, :size, :size] @ x[row, :size], -sine[row, :size, :size] @ x[row, :size])
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rate", [1, 2, 4])
def test_a_gated_convolution_by_hand(rate: int) -> None:
    torch.manual_seed(rate)
    block = GatedConvolution(3, 3, rate, 0.0).eval()
    x, size = torch.randn(1, 9, 3), 7
    mask = torch.ones(1, 9, 1)
    mask[:, size:] = 0
    found = block(x, mask)[0].detach().numpy()
    kernel, bias = block.conv.weight.detach().numpy(), block.conv.bias.detach().numpy()
    text = x[0, :size].numpy()
    for t in range(size):
        both = bias.copy()
        for tap in range(3):
            at = t + (tap - 1) * rate
            if 0 <= at < size:
                both += kernel[:, :, tap] @ text[at]
        gate = 1 / (1 + np.exp(-both[3:]))
        np.testing.assert_allclose(found[t], text[t] * (1 - gate) + both[:3] * gate, atol=1e-5)
    assert not found[size:].any()


def test_a_spatial_gate_by_hand() -> None:
    torch.manual_seed(0)
    gate = SpatialGate(3, 6, 1e-12)
    nn.init.normal_(gate.weight)
    nn.init.normal_(gate.bias)
    x = torch.randn(1, 5, 6)
    mask = torch.tensor([1.0, 1, 1, 0, 0])[None, :, None]
    found = gate(x, mask)[0, :3].detach().numpy()
    u, v = x[0, :, :3].numpy(), x[0, :, 3:].numpy()
    v = (v - v.mean(1, keepdims=True)) / v.std(1, keepdims=True)
    weight, bias = gate.weight.detach().numpy(), gate.bias.detach().numpy()
    wanted = [[u[t, c] * (weight[t, :3] @ v[:3, c] + bias[t]) for c in range(3)] for t in range(3)]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_gmlp_begins_as_a_perceptron_of_single_tokens() -> None:
    block = body_of(make(recipe("gmlp"), 60, "cpu")).layers[0].gate
    assert float(block.weight.detach().abs().max()) < 0.01 and bool((block.bias == 1).all())


# --- folders ---


@pytest.mark.parametrize("arch", OURS)
def test_a_folder_gives_the_vectors_of_the_trained_model(arch: str, folders: dict[str, Path]) -> None:
    from sentence_transformers import SentenceTransformer

    folder = folders[arch]
    assert json.loads((folder / "config.json").read_bytes())["model_type"] == f"hengyu-{arch}"
    encoder = open_encoder(EncoderSpec(str(folder)))
    texts = ["今天去公园散步", "他", "我们在家学习ok", "今天去公园散步和朋友一起吃饭"]
    ours = encoder.encode(texts, ["native", "mean", "first-last-mean", "cls"])
    library = SentenceTransformer(str(folder), device="cpu", local_files_only=True, trust_remote_code=True).float()
    np.testing.assert_allclose(ours["native"], library.encode(texts), atol=2e-5)  # the library pads
    np.testing.assert_allclose(ours["mean"], ours["native"], atol=1e-6)
    padded = encoder.encode_padded(texts, texts[-1] * 2, ["cls", "mean"])
    np.testing.assert_allclose(padded["cls"], ours["cls"], atol=2e-5)
    assert np.abs(ours["mean"][0] - ours["mean"][1]).max() > 0.01
    assert encoder.made_with == (f"hengyu.encoders.without_attention.{arch}",)
    assert encoder.parameters == sum(p.numel() for p in encoder.library(torch.float32)[0].model.parameters())
    assert encoder.folder.max_length == 32
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert f"--arch {arch}" in text and "trust_remote_code=True" in text and "heads, at most" not in text


def test_the_code_of_the_model_is_in_the_keys_of_a_cross_encoder(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = TrainablePairEncoder(
        open_encoder(EncoderSpec(str(folders["fnet"]))), "mean", segments=False, probabilities=True
    )
    model.open(dropout=0.0, length=32)
    model.add_head()
    model.save(tmp_path / "joint", "# Joint\n")
    encoder = open_cross_encoder(EncoderSpec(str(tmp_path / "joint")))
    plan: Any = SimpleNamespace(suite=SimpleNamespace(kind="sts"), tasks=[SimpleNamespace(name="t")])
    monkeypatch.setattr(score_pairs, "data_key", lambda *_: {})
    monkeypatch.setattr(identity, "_made_by", identity._made_by.__wrapped__)  # nothing is remembered
    step = parse_entry(f'cross-flat(model="{tmp_path / "joint"}")').steps[0]

    def keys() -> list[str]:
        (scored,) = score_pairs.scorer_keys(plan, [score_pairs.Scorer("joint", encoder, encoder.identity())])
        return [identity.digest(scored), identity.digest(step.key)]

    before, alone = keys(), identity.CODE.reached

    def changed(*modules: str, **more: Any) -> Any:
        reached, libraries = alone(*modules, **more)
        edited = {m: d + "x" * (m == "hengyu.encoders.without_attention.fnet") for m, d in reached.items()}
        return edited, libraries

    monkeypatch.setattr(identity.CODE, "reached", changed)
    assert all(a != b for a, b in zip(before, keys(), strict=True))


@pytest.mark.parametrize("arch", OURS)
def test_a_folder_can_be_fine_tuned_and_saved(arch: str, folders: dict[str, Path], tmp_path: Path) -> None:
    trainable = TrainableEncoder(open_encoder(EncoderSpec(str(folders[arch]))), "mean")
    entry = "cosent(lr=1e-3, batch=16, epochs=1, dropout=0.1)"
    parse_entry(entry).steps[0].make().tune(trainable, training_data_of(32), lambda done: None)
    rows = trainable.tokens(["今天去公园散步", "他"])
    wanted = trainable.vectors(rows)
    trainable.save(tmp_path / "out", "# Tuned\n")
    found = open_encoder(EncoderSpec(str(tmp_path / "out"))).encode(["今天去公园散步", "他"], ["native"])["native"]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    before = open_encoder(EncoderSpec(str(folders[arch]))).encode(["今天去公园散步"], ["native"])["native"]
    assert np.abs(found[:1] - before).max() > 1e-3


def test_an_exported_row_names_the_class_of_ours(folders: dict[str, Path], tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    from hengyu.tools.export_model.pooled import pooled

    encoder = open_encoder(EncoderSpec(str(folders["fnet"])))
    SentenceTransformer(modules=pooled(encoder, "cls"), device="cpu").save_pretrained(
        str(tmp_path), create_model_card=False
    )
    assert json.loads((tmp_path / "modules.json").read_bytes())[0]["type"] == MODULE
    again = open_encoder(EncoderSpec(str(tmp_path))).encode(["今天去公园散步"], ["native"])["native"]
    np.testing.assert_allclose(again, encoder.encode(["今天去公园散步"], ["cls"])["cls"], atol=1e-6)


def test_an_unknown_model_of_ours_is_refused_in_one_sentence(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["fnet"], tmp_path / "new")
    path = tmp_path / "new" / "config.json"
    path.write_text(path.read_text(encoding="utf-8").replace("hengyu-fnet", "hengyu-hyena"), encoding="utf-8")
    with pytest.raises(HengyuError, match="cannot be loaded"):
        open_encoder(EncoderSpec(str(tmp_path / "new"))).encode(["好"], ["native"])
    assert code_of({"model_type": "bert"}) == () and len(CLASSES) == len(OURS)


# --- pretraining ---


@pytest.mark.parametrize("arch", OURS)
def test_a_killed_training_goes_on(
    arch: str, corpus: Path, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again(corpus, tmp_path, monkeypatch, recipe(arch), folders[arch])


def again(corpus: Path, where: Path, monkeypatch: pytest.MonkeyPatch, wanted: Pretraining, whole: Path) -> None:
    """Kill a training after a few steps, go on, and compare its bytes with those of the whole one."""
    monkeypatch.setattr(loop, "_EVERY", 0.0)
    real, left = loop._loss, [4]

    def dies(*args: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_loss", dies)
        with pytest.raises(KeyboardInterrupt):
            pretrain([corpus], where / "out", wanted, dtype="float32")
    done = pretrain([corpus], where / "out", wanted, dtype="float32")
    for name in ("model.safetensors", "config.json", "pretraining.json", "modules.json"):
        assert (done.folder / name).read_bytes() == (whole / name).read_bytes(), name


def test_the_loss_falls_with_every_architecture_and_beginning(
    corpus: Path, folders: dict[str, Path], tmp_path: Path
) -> None:
    curves = {a: json.loads((folder / "pretraining.json").read_bytes())["curve"] for a, folder in folders.items()}
    for arch, init in (("bert", "orthogonal"), ("gmlp", "normal")):
        wanted = recipe(arch, init=init)
        curves[init] = pretrain([corpus], tmp_path / init, wanted, dtype="float32").about["curve"]
    for name, curve in curves.items():
        assert curve[-1]["held_out"] < curve[0]["held_out"] - 0.03, (name, curve)


def test_older_recipes_keep_their_identity_and_wrong_ones_are_refused() -> None:
    assert not {"arch", "init", "unshare_after"} & set(Pretraining().parameters())
    assert Pretraining().parameters()["layers"] == 4 and Pretraining(arch="fnet").parameters()["layers"] == 6
    assert Pretraining(arch="gmlp", init="normal").parameters()["init"] == "normal"
    Pretraining(arch="dgcnn", width=30)  # no heads, which would have to divide the width
    for wrong, said in (
        ({"arch": "lstm"}, "--arch lstm is unknown; use one of bert, albert, dgcnn, gmlp, fnet"),
        ({"init": "zeros"}, "--init zeros is unknown; use one of bert, orthogonal, normal"),
        ({"unshare_after": 3}, "--unshare-after needs --arch albert: the blocks of bert share no weights"),
        ({"arch": "albert", "unshare_after": 99, "steps": 9}, "--unshare-after 99 must lie in -1..9"),
        ({"arch": "albert", "width": 30}, "must be a multiple of --heads"),
    ):
        with pytest.raises(HengyuError, match=said):
            Pretraining(**wrong)  # type: ignore[arg-type]


# --- ALBERT's blocks apart ---


def test_copies_compute_the_same_and_then_go_their_own_ways() -> None:
    torch.manual_seed(0)
    wanted = recipe("albert")
    model = make(wanted, 60, "cpu")
    optimizer = loop._optimizer(model, wanted)
    text = ids(4, 12)

    def step() -> None:
        loss = head_of(model)(body_of(model)(text).last_hidden_state).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    before = body_of(model)(text).last_hidden_state.detach()
    many = sum(p.numel() for p in model.parameters())
    assert shares_blocks(model)
    old = {n: optimizer.state[p]["exp_avg"].clone() for n, p in model.named_parameters() if p in optimizer.state}
    unshare(model, optimizer)
    assert not shares_blocks(model) and model.config.num_hidden_groups == 3
    torch.testing.assert_close(body_of(model)(text).last_hidden_state, before, atol=0, rtol=0)
    blocks = body_of(model).encoder.albert_layer_groups
    one = sum(p.numel() for p in blocks[0].parameters())
    assert sum(p.numel() for p in model.parameters()) == many + 2 * one
    assert {id(p) for p in model.parameters()} == {id(p) for g in optimizer.param_groups for p in g["params"]}
    name = "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight"
    for block in blocks:
        torch.testing.assert_close(optimizer.state[block.albert_layers[0].ffn.weight]["exp_avg"], old[name] / 3)
    step()
    assert not torch.equal(blocks[0].albert_layers[0].ffn.weight, blocks[1].albert_layers[0].ffn.weight)
    with pytest.raises(ValueError, match="share no weights"):
        unshare(model)


def test_a_pretraining_with_blocks_copied_apart_goes_on_after_a_kill(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for after in (2, 5):  # the kill comes after the copies, and before them
        wanted = recipe("albert", unshare_after=after)
        whole = pretrain([corpus], tmp_path / f"whole{after}", wanted, dtype="float32")
        again(corpus, tmp_path / str(after), monkeypatch, wanted, whole.folder)
        config = json.loads((whole.folder / "config.json").read_bytes())
        assert config["num_hidden_groups"] == config["num_hidden_layers"] == 3
        weights = open_encoder(EncoderSpec(str(whole.folder))).library(torch.float32)[0].model.state_dict()
        blocks = [weights[f"encoder.albert_layer_groups.{n}.albert_layers.0.ffn.weight"] for n in (0, 1)]
        assert not torch.equal(*blocks)


def test_copies_at_the_end_are_the_shared_model(corpus: Path, folders: dict[str, Path], tmp_path: Path) -> None:
    done = pretrain([corpus], tmp_path / "apart", recipe("albert", unshare_after=6), dtype="float32")
    texts = ["今天去公园散步", "他"]
    ours, theirs = (open_encoder(EncoderSpec(str(f))).encode(texts, ["mean"]) for f in (done.folder, folders["albert"]))
    np.testing.assert_allclose(ours["mean"], theirs["mean"], atol=1e-6)
    assert done.about["parameters"] > json.loads((folders["albert"] / "pretraining.json").read_bytes())["parameters"]


def test_the_tuner_unshare_trains_every_block_by_itself(
    folders: dict[str, Path], tiny_bert: Path, tmp_path: Path
) -> None:
    entry = "unshare(cosent(lr=1e-3, batch=16, epochs=1, dropout=0.0))"
    trainable = TrainableEncoder(open_encoder(EncoderSpec(str(folders["albert"]))), "mean")
    parse_entry(entry).steps[0].make().tune(trainable, training_data_of(32), lambda done: None)
    blocks = [g.albert_layers[0].ffn.weight for g in trainable.model.encoder.albert_layer_groups]
    assert len(blocks) == 3 and not torch.equal(blocks[0], blocks[2])
    trainable.save(tmp_path / "out", "# Tuned\n")
    found = open_encoder(EncoderSpec(str(tmp_path / "out"))).encode(["今天去公园散步"], ["mean"])["mean"]
    np.testing.assert_allclose(found, trainable.vectors(trainable.tokens(["今天去公园散步"])), atol=1e-5)
    with pytest.raises(ValueError, match="share no weights; only ALBERT's do"):
        parse_entry(entry).steps[0].make().tune(
            TrainableEncoder(open_encoder(EncoderSpec(str(tiny_bert))), "mean"), training_data_of(32), lambda done: None
        )


# --- how matrices begin ---


@pytest.mark.parametrize("shape", [(6, 24), (24, 6), (12, 12), (8, 4, 3)])
def test_orthogonal_matrices_have_the_size_of_normal_ones(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    weight = torch.empty(shape)
    draw(weight, "orthogonal")
    flat = weight.flatten(1).double()
    out, inputs = flat.shape
    gram = flat @ flat.T if out <= inputs else flat.T @ flat
    torch.testing.assert_close(gram, max(1.0, out / inputs) * torch.eye(len(gram)).double(), atol=1e-5, rtol=0)
    assert float(flat.square().mean()) == pytest.approx(1 / inputs, rel=1e-5)
    many = torch.empty(400, 100)
    draw(many, "normal")
    assert float(many.square().mean()) == pytest.approx(1 / 100, rel=0.05)
    with pytest.raises(ValueError, match="zeros is not one of"):
        draw(many, "zeros")


def test_every_matrix_but_embeddings_is_drawn_anew() -> None:
    torch.manual_seed(0)
    model = make(recipe("bert", init="orthogonal"), 60, "cpu")
    query = model.bert.encoder.layer[0].attention.self.query.weight.detach()
    torch.testing.assert_close(query @ query.T, torch.eye(16), atol=1e-5, rtol=0)
    assert float(model.bert.embeddings.word_embeddings.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight


def test_the_tuner_redraw_draws_the_layers_on_top(tiny_bert: Path) -> None:
    trainable = TrainableEncoder(open_encoder(EncoderSpec(str(tiny_bert))), "mean")
    trainable.open(dropout=0.0, length=32)
    before = {n: p.detach().clone() for n, p in trainable.model.named_parameters()}
    method = parse_entry("redraw(sbert(loss=classify))").steps[0].make()
    objective = method.core.make(trainable, training_data_of(32))
    method.changed(objective, trainable)
    (head,) = [m.weight.detach() for h in objective.heads for m in h.modules() if isinstance(m, nn.Linear)]
    torch.testing.assert_close(head @ head.T, torch.eye(len(head)), atol=1e-5, rtol=0)
    assert all(torch.equal(p, before[n]) for n, p in trainable.model.named_parameters())
    plain = parse_entry("redraw(cosent)").steps[0].make()
    with pytest.raises(ValueError, match="cosent adds none; leave redraw out"):
        plain.changed(plain.core.make(trainable, training_data_of(32)), trainable)
    with pytest.raises(HengyuError, match="redraw"):
        parse_entry("redraw(sbert, init=zeros)")
    assert redraw([nn.Identity()], "normal") == 0
