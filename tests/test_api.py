"""The Python interface: scores equal the bench's, estimators keep scikit-learn's conventions, given vectors are an encoder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from helpers import runs
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import roc_auc_score

import hengyu
from hengyu import estimators
from hengyu.base.errors import Degenerate, HengyuError
from hengyu.cards import load_cards
from hengyu.cards.data import load_pairs
from hengyu.cli import main
from hengyu.encoders import EncoderSpec, find_encoder, open_encoder
from hengyu.methods import find_method, method_names

NAMES = [n for n in dir(estimators) if n != "Estimator"]
# those that learn from a handful of rows, as the checks give them, and have a default for every parameter
CHECKED = ("AllButTheTop", "Center", "L2", "LinearFlow", "PCA", "Raw", "Standardize", "Truncate", "Whitening")
NEEDS = {
    "jl": {"dim": 4},
    "simhash": {"bits": 8},
    "itq": {"bits": 8},
    "pq": {"m": 2},
    "opq": {"m": 2},
    "flow": {"steps": 5},
}


def cloud(n: int = 300, d: int = 8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


def pairs(binary: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    a = cloud(seed=1)
    b = a + rng.normal(size=a.shape) * rng.uniform(0, 6, size=(len(a), 1))
    graded = np.clip(np.round(5 - np.linalg.norm(a - b, axis=1) / 3 + rng.normal(size=len(a))), 0, 5)
    return a, b, (graded > 2).astype(int) if binary else graded


@pytest.mark.parametrize("binary", [False, True])
def test_score_is_the_reference_and_lies_in_its_interval(binary: bool) -> None:
    a, b, labels = pairs(binary)
    found = hengyu.score(a, b, labels, resamples=200)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert np.abs(found.similarity - cosine).max() < 1e-12
    assert found.spearman == pytest.approx(spearmanr(cosine, labels)[0], abs=1e-12)
    assert found.metrics["pearson"] == pytest.approx(pearsonr(cosine, labels)[0], abs=1e-12)
    assert found.low < found.spearman < found.high <= found.ceiling
    assert found.ceiling_share == found.spearman / found.ceiling
    assert ("auc" in found.metrics) == binary
    if binary:
        assert found.metrics["auc"] == pytest.approx(roc_auc_score(labels, cosine), abs=1e-12)
        p, n = labels.mean(), len(labels)
        assert found.ceiling == pytest.approx(np.sqrt(3 * p * (1 - p) * n**2 / (n**2 - 1)))


def test_the_order_of_the_pairs_and_the_length_of_vectors_change_no_score() -> None:
    a, b, labels = pairs(False)
    order = np.random.default_rng(1).permutation(len(a))
    one, two = hengyu.score(a, b, labels), hengyu.score(3 * a[order], b[order] / 7, labels[order])
    assert one.spearman == pytest.approx(two.spearman, abs=1e-12)


def test_what_cannot_be_scored_is_said_in_a_sentence() -> None:
    a, b, labels = pairs(False)
    with pytest.raises(HengyuError, match="must be .n, d., .n, d. and .n,."):
        hengyu.score(a, b[:-1], labels)
    with pytest.raises(HengyuError, match="labels: holds values that are not finite"):
        hengyu.score(a, b, np.where(labels > 4, np.nan, labels))
    with pytest.raises(HengyuError, match="vectors_a: must have 2 dimensions"):
        hengyu.score(a[0], b, labels)
    with pytest.raises(HengyuError, match="vectors_b: must be numbers"):
        hengyu.score(a, [["x"]], labels)
    with pytest.raises(Degenerate):
        hengyu.score(a, b, np.ones(len(a)))


def test_a_run_becomes_a_table(tmp_path: Path) -> None:
    run = runs.make_run()
    table = hengyu.frame(run)
    assert len(table) == len(run.records)
    assert pd.api.types.is_float_dtype(table["value"])
    assert hengyu.frame(runs.write_run(run, tmp_path)).drop(columns="seconds").equals(table.drop(columns="seconds"))
    best = table[table.metric.eq("spearman") & table.task.eq("mean")]["value"].max()
    assert best == max(r.value for r in run.records if r.task == "mean" and r.value is not None)


def test_run_is_the_command(tmp_path: Path) -> None:
    done = hengyu.run(
        "smoke", tasks=["hengyu-sts:valid"], entries=["whitening(dim=16)"], encoders=["hengyu-static"], out=tmp_path
    )
    value = next(r.value for r in done.records if r.entry == "whitening(dim=16)" and r.pooling == "mean")
    found = load_pairs(load_cards()["hengyu-sts"], "valid")
    encoder = open_encoder(EncoderSpec("hengyu-static"))
    x = encoder.encode([*found.first, *found.second], ["mean"])["mean"]
    z = estimators.Whitening(dim=16).fit_transform(x)
    n = len(found.labels)
    assert hengyu.score(z[:n], z[n:], found.labels).spearman == pytest.approx(value, abs=1e-6)


def test_importing_hengyu_is_quick_and_lazy() -> None:
    code = (
        "import sys, hengyu; heavy = {'torch', 'numpy', 'sklearn', 'pandas', 'scipy', 'click'} & set(sys.modules); "
        "assert not heavy, heavy; assert callable(hengyu.score); assert hengyu.estimators.Whitening().get_params()['dim'] is None"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="it has Score"):
        _ = hengyu.scroe
    with pytest.raises(AttributeError, match="did you mean 'Whitening'"):
        _ = estimators.Whitenin


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CHECKED)
def test_check_estimator_passes(name: str) -> None:
    from sklearn.utils.estimator_checks import check_estimator

    check_estimator(getattr(estimators, name)(), on_skip=None)


def test_every_method_has_an_estimator_that_is_the_method() -> None:
    x = cloud()
    for name in method_names():
        method = find_method(name)
        if method.__name__ not in NAMES:
            continue
        own = getattr(estimators, method.__name__)
        parameters = NEEDS.get(name, {})
        assert np.array_equal(own(**parameters).fit(x).transform(x), method(**parameters).fit(x)(x)), name


def test_an_estimator_stands_in_a_pipeline_and_a_grid() -> None:
    from sklearn.base import clone
    from sklearn.pipeline import make_pipeline

    x = cloud(d=12)
    pipe = make_pipeline(estimators.L2(), estimators.Whitening(dim=5), estimators.L2())
    z = clone(pipe).set_params(whitening__dim=3).fit(x).transform(x)
    assert z.shape == (len(x), 3)
    assert np.allclose(np.linalg.norm(z, axis=1), 1)
    assert list(pipe.fit(x)[1].get_feature_names_out()) == [f"whitening{i}" for i in range(5)]
    with pytest.raises(ValueError, match="dim=99 is larger than the 12"):
        estimators.Whitening(dim=99).fit(x)


def given(folder: Path, texts: list[str], vectors: np.ndarray, form: str = "txt") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "mine.npy", vectors)
    content = json.dumps(texts, ensure_ascii=False) if form == "json" else "\n".join(texts) + "\n"
    (folder / f"mine.{form}").write_text(content, encoding="utf-8")
    return folder / "mine.npy"


@pytest.mark.parametrize("form", ["txt", pytest.param("json", marks=pytest.mark.long)])
def test_given_vectors_are_weighed_like_the_encoder_they_are_from(tmp_path: Path, form: str) -> None:
    found = load_pairs(load_cards()["hengyu-sts"], "valid")
    texts = list(dict.fromkeys([*found.first, *found.second]))
    x = open_encoder(EncoderSpec("hengyu-static")).encode(texts, ["mean"])["mean"]
    path = given(tmp_path / "given", texts[::-1], x[::-1], form)
    run = ["run", "smoke", "--task", "hengyu-sts:valid", "--entry", "whitening(dim=16)", "--quiet"]
    done = CliRunner().invoke(
        main, [*run, "--encoder", str(path), "--encoder", "hengyu-static", "--out", str(tmp_path)]
    )
    assert done.exit_code == 0, done.output
    [folder] = (tmp_path / "records").iterdir()
    table = hengyu.frame(folder)
    values = table[table.metric.eq("spearman") & table.task.eq("hengyu-sts") & ~table.sweep].set_index(
        ["encoder", "pooling", "entry"]
    )["value"]
    for entry in ("raw", "whitening(dim=16)"):
        assert values["mine", "native", entry] == pytest.approx(values["hengyu-static", "mean", entry], abs=1e-9)
    out = CliRunner().invoke(main, ["export-model", str(folder), "--row", "mine | raw", "--out", str(tmp_path / "x")])
    assert out.exit_code == 2 and "not a model" in out.output


def test_given_vectors_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    texts = ["甲", "乙", "丙"]
    x = np.eye(3, 4, dtype=np.float32)

    def opened(folder: str, vectors: np.ndarray = x, **more: str) -> object:
        return find_encoder(EncoderSpec(str(given(tmp_path / folder, texts, vectors)), **more))

    encoder = opened("a")
    assert encoder.encode(["丙", "甲", "丙"], ["native"])["native"].tolist() == x[[2, 0, 2]].tolist()
    with pytest.raises(HengyuError, match="no vector for 1 of the suite's 2 texts, such as '丁'"):
        encoder.encode(["甲", "丁"], ["native"])
    with pytest.raises(HengyuError, match="pooling 'cls' is not available: the vectors are given"):
        encoder.encode(["甲"], ["cls"])
    for number, (vectors, reason) in enumerate(
        [
            (x[:2], "2 vectors for the 3 texts"),
            (x[0], r"must be floating-point vectors .m, d., not float32 .4,."),
            (np.where(x > 0, np.nan, x), "row 0 .from 0. is not finite"),
            (np.array([[1]], dtype=object), "not an array of numbers"),
        ]
    ):
        with pytest.raises(HengyuError, match=reason):
            opened(f"b{number}", vectors).identity()
    (tmp_path / "a" / "mine.txt").unlink()
    with pytest.raises(HengyuError, match="its texts are missing; put them in .*mine.txt"):
        find_encoder(EncoderSpec(str(tmp_path / "a" / "mine.npy"))).identity()
    with pytest.raises(HengyuError, match="prompt does not apply"):
        opened("c", prompt="查询")
    with pytest.raises(HengyuError, match="texts applies only to a .npy file"):
        find_encoder(EncoderSpec("hengyu-mini", texts="x.txt"))
    with pytest.raises(HengyuError, match="no such file"):
        find_encoder(EncoderSpec(str(tmp_path / "gone.npy"))).identity()
