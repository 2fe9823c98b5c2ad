"""Cards of BUSTM, SimCLUE, OPPO, CINLID and CNSD, on tiny invented files in the formats of the public ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hengyu.base.errors import HengyuError
from hengyu.cards import load_cards
from hengyu.cards.data import load_pairs

PAIRS = (("今天有雨吗", "今天下雨吗"), ("放一首歌", '关掉"灯"'), ("你叫什么", "你几岁了"))
JSON = '{{"id": {0}, "sentence1": "{1}", "sentence2": "{2}", "label": "{3}"}}'
RELATIONS = ("entailment", "contradiction", "neutral")


@pytest.mark.parametrize(
    ("name", "split"), [("BUSTM", "train"), ("BUSTM", "test"), ("SimCLUE", "test"), ("OPPO", "valid"), ("OPPO", "train"),
                        ("CINLID", "test"), ("CNSD-SNLI", "test"), ("CNSD-MNLI", "valid")]
)  # fmt: skip
def test_files_are_read_in_their_own_format(name: str, split: str, tmp_path: Path) -> None:
    card = load_cards()[name]
    file = tmp_path / card.splits[split].file
    file.parent.mkdir()
    if file.suffix == ".json":
        lines = [JSON.format(i, a, b.replace('"', ""), int(i == 0)) for i, (a, b) in enumerate(PAIRS)]
    else:
        labels = RELATIONS if card.label_map else ("1", "0", "0")
        lines = [f"{a}\t{b}\t{y}" for (a, b), y in zip(PAIRS, labels, strict=True)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    tiny = replace(card, splits={split: replace(card.splits[split], rows=3, sha256="")})
    pairs = load_pairs(tiny, split, tmp_path)
    assert pairs.labels.tolist() == [1, 0, 0] and pairs.first[0] == PAIRS[0][0]
    if file.suffix == ".txt":
        assert pairs.second[1] == PAIRS[1][1]  # quotes are part of the text
    if card.splits[split].sha256:
        with pytest.raises(HengyuError, match="sha256"):
            load_pairs(card, split, tmp_path)
