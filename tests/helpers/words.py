"""Sentences made on the spot, so that no test needs a sentence of somebody else's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

WHO = ("我", "他", "她", "我们", "他们", "老人", "学生", "大家")
WHEN = ("今天", "现在", "先后", "同时", "白天")
WHAT = ("去公园散步", "在家学习", "看电影", "回来吃饭", "问路", "去月亮上", "学数学", "打电话", "走路回家", "去海边")


def sentences(rng: np.random.Generator, n: int) -> list[tuple[str, str, float]]:
    """Return n pairs with a grade 0..5: how many of three parts they share, and some noise."""
    rows = []
    for i in range(n):
        a = [str(rng.choice(part)) for part in (WHO, WHEN, WHAT)]
        b = [p if rng.random() < 0.5 else str(rng.choice(part)) for p, part in zip(a, (WHO, WHEN, WHAT), strict=True)]
        shared = sum(x == y for x, y in zip(a, b, strict=True))
        grade = float(np.clip(shared * 5 / 3 + rng.normal(0, 0.7), 0, 5).round(1))
        rows.append(("".join(a) + str(i % 10), "".join(b), grade))
    return rows


def save_grades(folder: Path) -> None:
    """Write a card called grades with the splits test, valid and train of 80 pairs each."""
    rng = np.random.default_rng(7)
    card = 'name = "grades"\nlabels = { scale = [0, 5] }\n'
    for split in ("test", "valid", "train"):
        text = "".join(f"{a}\t{b}\t{y}\n" for a, b, y in sentences(rng, 80))
        (folder / f"{split}.tsv").write_text("sentence1\tsentence2\tlabel\n" + text, encoding="utf-8")
        card += f'[splits.{split}]\nfile = "{split}.tsv"\n'
    (folder / "grades.toml").write_text(card, encoding="utf-8")
