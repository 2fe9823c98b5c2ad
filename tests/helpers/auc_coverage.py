"""How often 95 % intervals of AUC and average precision cover the true value where one class is small.

Scores are normal, with the positives shifted so that the true AUC is 0.7, 0.85 or 0.95. Run as a program it prints the
table of docs/gate.md:

    PYTHONPATH=runners python tests/helpers/auc_coverage.py 500
"""

from __future__ import annotations

import sys

import numpy as np
from scipy.stats import norm

from hengyu.numerics.metrics import auc, average_precision
from hengyu.numerics.resampling import Resamples, interval, logit_interval

N = 200
SEED = 2026


def coverage(positives: int, true_auc: float, replays: int) -> dict[str, tuple[float, float]]:
    """Return the shares of percentile and of logit intervals that cover the truth, for AUC and average precision."""
    rng = np.random.default_rng(SEED)
    shift = np.sqrt(2.0) * norm.ppf(true_auc)
    labels = np.repeat([1.0, 0.0], [positives, N - positives])
    many = np.repeat(labels, 2000)
    truth = {"auc": true_auc, "ap": average_precision(rng.normal(size=len(many)) + shift * many, many)}
    scores = rng.normal(size=(replays, N)) + shift * labels
    drawn = Resamples(labels, 1000, seed=1, key="coverage").run(scores, metrics=("auc", "ap"))
    out = {}
    for name, metric in (("auc", auc), ("ap", average_precision)):
        plain = [interval(d) for d in drawn[name]]
        ours = [logit_interval(metric(x, labels), d, positives) for x, d in zip(scores, drawn[name], strict=True)]
        out[name] = tuple(
            float(np.mean([low <= truth[name] <= high for low, high in found])) for found in (plain, ours)
        )
    return out  # type: ignore[return-value]


def main(replays: int) -> None:
    """Print the shares in percent, as a Markdown table."""
    say = sys.stdout.write
    say(
        "| positives of 200 | true AUC | AUC, percentile | AUC, logit | AP, percentile | AP, logit |\n|--:|--:|--:|--:|--:|--:|\n"
    )
    for positives in (5, 10, 50):
        for true_auc in (0.7, 0.85, 0.95):
            found = coverage(positives, true_auc, replays)
            shares = " | ".join(f"{100 * x:.1f}" for name in ("auc", "ap") for x in found[name])
            say(f"| {positives} | {true_auc} | {shares} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
