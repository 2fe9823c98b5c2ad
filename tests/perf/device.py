"""Checks one GPU in a few minutes: `python tests/perf/device.py --out FOLDER` writes FOLDER/device.json.

A random BERT of the usual size (12 blocks of width 768) encodes sentences in float32, float16 and bfloat16: tokens a second, the
share of what a plain matrix product of that dtype reaches there, and the distance of its vectors and a Spearman from the CPU's in
float32. Then SimCSE trains it for some steps on the device and on the CPU from the same seed. Nothing is downloaded. With
`--dry-run` a tiny model runs the same way on the CPU, in seconds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
NEAR = {"float32": 1e-4, "float16": 1e-3, "bfloat16": 1e-2}
"""dtype -> the largest cosine distance of a vector from the CPU's in float32."""


def random_model(folder: Path, shape: dict[str, int]) -> None:
    """Write a BERT of random weights with the tokenizer of hengyu-mini."""
    import torch
    from transformers import BertConfig, BertModel

    from hengyu.encoders import EncoderSpec, open_encoder

    built_in = open_encoder(EncoderSpec("hengyu-mini")).folder.transformer
    folder.mkdir(parents=True)
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (built_in / name).is_file():
            shutil.copy(built_in / name, folder)
    words = len((built_in / "vocab.txt").read_text(encoding="utf-8").splitlines())
    torch.manual_seed(0)
    # larger weights than BERT starts with, so that vectors of different sentences differ
    config = BertConfig(vocab_size=words, max_position_embeddings=512, initializer_range=0.05, **shape)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder, safe_serialization=True)


def encoding(model: str, device: str, seconds: float, texts: Sequence[str], side: int) -> list[dict[str, Any]]:
    """Return what each dtype does on a device: speed, share of the peak, distance from the CPU's vectors and Spearman."""
    from hengyu.cards import load_cards
    from hengyu.cards.data import load_pairs
    from hengyu.encoders import EncoderSpec, open_encoder
    from hengyu.numerics.metrics import spearman
    from hengyu.numerics.similarity import cosines
    from hengyu.tools.throughput import measure

    pairs = load_pairs(load_cards()["hengyu-sts"], "test")
    n = min(256, len(texts))
    sentences = [*pairs.first[:n], *pairs.second[:n]]
    at = np.arange(n)

    def vectors(dtype: str, where: str) -> np.ndarray[Any, Any]:
        encoder = open_encoder(EncoderSpec(model, dtype=dtype, device=where))
        found = encoder.encode(sentences, ["mean"])["mean"].astype(np.float64)
        encoder.release()
        return found

    def score(x: np.ndarray[Any, Any]) -> float:
        return spearman(cosines(x, at, at + n), pairs.labels[:n])

    exact = vectors("float32", "cpu")
    rows = []
    specs = [EncoderSpec(model, dtype=d, device=device) for d in NEAR]
    for found in measure(specs, texts, [1], seconds=seconds, side=side):
        dtype = found.spec.dtype
        x = vectors(dtype, device)
        unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (exact, x)]
        rows.append(
            {
                "dtype": dtype,
                "tokens_per_second": round(found.tokens),
                "peak_tflops": round(found.peak / 1e12, 3),
                "share_of_peak": round(found.share, 6),
                "largest_cosine_distance": float((1 - (unit[0] * unit[1]).sum(axis=1)).max()),
                "spearman_drift_points": 100 * (score(x) - score(exact)),
            }
        )
    return rows


def simcse(model: str, device: str, sentences: int) -> dict[str, Any]:
    """Train by SimCSE on a device; return seconds, and the Spearman before and after."""
    from hengyu.bench.run_suite import RunOptions, run_suite
    from hengyu.storage.records import load_run
    from hengyu.suites.suite import find_suite, load_suite

    with tempfile.TemporaryDirectory(prefix="device-") as place:
        asked = RunOptions(
            tasks=("hengyu-sts:valid",),
            encoders=(model,),
            entries=(f"simcse(sentences={sentences}, batch=32)",),
            device=device,
            out=place,
            store=str(Path(place) / "store"),
            workers=1,
        )
        started = time.perf_counter()
        outcome = run_suite(load_suite(find_suite("smoke")), asked)
        records = load_run(outcome.folder).records
        values = {
            r.entry.partition("(")[0]: r.value
            for r in records
            if r.metric == "spearman" and r.on_board and r.pooling == "mean"
        }
        return {
            "device": device,
            "seconds": round(time.perf_counter() - started, 1),
            "before": values.get("raw"),
            "after": values.get("simcse"),
            "failures": list(outcome.failures),
        }


def check(device: str, *, tiny: bool, seconds: float) -> dict[str, Any]:
    """Return all that is measured on a device, and what is amiss with it."""
    import torch

    from hengyu.cards import load_cards
    from hengyu.cards.data import load_pairs

    pairs = load_pairs(load_cards()["hengyu-sts"], "test")
    texts = list(dict.fromkeys([*pairs.first, *pairs.second]))[: 64 if tiny else None]
    with tempfile.TemporaryDirectory(prefix="device-model-") as place:
        model = Path(place) / "random-bert"
        random_model(model, TINY if tiny else BASE)
        rows = encoding(str(model), device, seconds, texts, 128 if tiny else 8192)
        trained = [simcse(str(model), where, 64 if tiny else 512) for where in dict.fromkeys((device, "cpu"))]
    amiss = [
        f"{row['dtype']}: a vector is {row['largest_cosine_distance']:.1e} from the CPU's, more than {NEAR[row['dtype']]:g}"
        for row in rows
        if not row["largest_cosine_distance"] <= NEAR[row["dtype"]]
    ]
    amiss += [f"simcse on {one['device']}: {why}" for one in trained for why in one["failures"]]
    amiss += [f"simcse on {one['device']}: no score after it" for one in trained if one["after"] is None]
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU"
    return {
        "device": device,
        "name": name,
        "torch": torch.__version__,
        "encoding": rows,
        "simcse": trained,
        "amiss": amiss,
    }


def main(words: Sequence[str] | None = None) -> int:
    """Check a device and write device.json; return 1 where something is amiss, 2 where there is no such device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="as PyTorch names it (default: cuda)")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for device.json")
    parser.add_argument("--seconds", type=float, default=10.0, help="of encoding, for each dtype (default: 10)")
    parser.add_argument(
        "--dry-run", action="store_true", help="a tiny model on the CPU, to see that the check itself works"
    )
    asked = parser.parse_args(words)
    import torch

    device = "cpu" if asked.dry_run else asked.device
    if device.startswith("cuda") and not torch.cuda.is_available():
        print("error: PyTorch sees no GPU here; use --dry-run, or another --device", file=sys.stderr)  # noqa: T201
        return 2
    found = check(device, tiny=asked.dry_run, seconds=0.05 if asked.dry_run else asked.seconds)
    asked.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=1, ensure_ascii=False)
    (asked.out / "device.json").write_text(text + "\n", encoding="utf-8")
    print(text)  # noqa: T201
    return int(bool(found["amiss"]))


if __name__ == "__main__":
    raise SystemExit(main())
