"""The kinds of task: a file each, which says how an entry is observed, judged and shown.

``sts.py`` is the kind ``sts`` and names its class in ``TASK``. Adding a kind means adding a file, or an entry point of the
group ``hengyu.tasks``; there is no list to edit. What kinds share lies in the packages below: `interface` (what a kind is),
`pairs` (cosines of pairs, and their metrics, a file each) and `search` (neighbours of queries).
"""

from __future__ import annotations

from hengyu.tasks.interface.base import Average, Inputs, Metric, Task
from hengyu.tasks.interface.registry import find_task, task_names
from hengyu.tasks.interface.truth import ItemMeans, Measured, Truth
from hengyu.tasks.pairs.observing import PairTask
from hengyu.tasks.pairs.truth import PairLabels, PairScores

__all__ = [
    "Average",
    "Inputs",
    "ItemMeans",
    "Measured",
    "Metric",
    "PairLabels",
    "PairScores",
    "PairTask",
    "Task",
    "Truth",
    "find_task",
    "task_names",
]
