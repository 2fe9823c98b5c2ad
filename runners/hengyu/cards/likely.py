"""Likely: usual names of the columns of sentence pairs, and the meaning of label words."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["label_rank", "meaning", "sentence_pair"]


def _listed(words: str) -> tuple[str, ...]:
    return tuple(words.split())


# names and words without spaces, underscores, dots and hyphens, in lower case
_LABELS = _listed("""
label labels goldlabel gold score scores similarity similarityscore sim labela relatednessscore relatedness isduplicate
duplicate issimilar similar isparaphrase same y match class rating grade category judgment result
标签 标注 相似度 得分 分数 评分 是否相似 是否相同 是否匹配 是否同义 结果
""")
_PAIRS = {
    tuple(pair.split("/"))
    for pair in _listed("""
query/title query/document query/doc query/passage query/candidate query/reply query/answer query/text
premise/hypothesis source/target src/tgt first/second left/right sentence/paraphrase text/paraphrase anchor/positive
question/answer question/other sentence/reference 原句/改写 标准问/相似问 问题/答案 前提/假设
""")
}
_ENDS = (("1", "2"), ("a", "b"), ("0", "1"), ("一", "二"), ("甲", "乙"), ("i", "ii"), ("x", "y"), ("left", "right"))
_YES = _listed("""
entailment entails paraphrase duplicate similar same yes true positive equivalent y match matched relevant related t pos
相似 相同 是 同义 匹配 蕴含 一致 相关 重复 等价 对 真 正例
""")
_NO = _listed("""
contradiction contradicts neutral notentailment nonentailment different dissimilar no n false negative notduplicate
nonduplicate notsimilar notequivalent notparaphrase f neg nonparaphrase mismatch unmatched notmatch irrelevant unrelated
notrelated notmatched
不相似 不同 不相同 否 不同义 不匹配 矛盾 中立 中性 不一致 不相关 无关 不重复 错 假 负例 不等价
""")


def _plain(name: str) -> str:
    return re.sub(r"[\s_.\-()（）]+", "", name.casefold())


def label_rank(name: str) -> int:
    """Return the rank of a column name as a label's, 0 for the most certain; -1 for other names."""
    plain = _plain(name)
    if plain in _LABELS:
        return _LABELS.index(plain)
    if plain.startswith("label") or plain.endswith(("label", "score", "similarity", "标签", "相似度")):
        return len(_LABELS)
    return -1


def sentence_pair(names: Sequence[str]) -> tuple[int, int] | None:
    """Return the positions of the two columns that are named like a pair, None if there are none or several."""
    plain = [_plain(name) for name in names]
    found = []
    for i, one in enumerate(plain):
        for j, two in enumerate(plain):
            if i == j or not one or not two:
                continue
            ended = any(
                one.endswith(a) and two.endswith(b) and one[: -len(a)] == two[: -len(b)] and label_rank(names[j]) < 0
                for a, b in _ENDS
            )
            if ended or two == f"{one}2" or (one, two) in _PAIRS:
                found.append((i, j))
    return found[0] if len(found) == 1 else None


def meaning(word: str) -> float | None:
    """Return 1 for a word that means "same", 0 for one that means "different", else None."""
    plain = _plain(word)
    return 1.0 if plain in _YES else 0.0 if plain in _NO else None
