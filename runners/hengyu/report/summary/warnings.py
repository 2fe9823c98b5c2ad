"""The warnings of a run, without what older versions kept among them."""

from __future__ import annotations

import re

from hengyu.storage.records import Run

__all__ = ["real_warnings"]

# that a method is worse than the reference is a finding
_FINDING = re.compile(r": worse than \S+, the [\d.]+ % interval leaving out 0: ")


def real_warnings(run: Run) -> list[str]:
    """Return the warnings of a run; findings that runs of before held among them are left out."""
    return [str(w) for w in run.header.get("warnings", ()) if not _FINDING.search(str(w))]
