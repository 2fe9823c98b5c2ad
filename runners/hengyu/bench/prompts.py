"""Which prompt stands around queries and which around documents, in words."""

from __future__ import annotations

from hengyu.bench.prepared_encoder import PreparedEncoder
from hengyu.suites.plan import Plan

__all__ = ["say_prompts"]


def say_prompts(plan: Plan, prepared: PreparedEncoder) -> str:
    """Say which prompts an encoder uses for the two sides of a retrieval suite, and that an STS suite has no sides.

    Returns "" where there is nothing to say: no prompt on either side, and none asked for.
    """
    name, spec = prepared.encoder.id, prepared.encoder.spec
    if not plan.suite.task_kind.sided:
        if spec.query_prompt is None and spec.document_prompt is None:
            return ""
        return (
            f"{name}: prompts for queries and documents are used in retrieval suites only; here every sentence is encoded "
            f"{_shown(str(prepared.identity['prompt']))}"
        )
    document = str(prepared.identity["prompt"])
    query = str(prepared.asking.identity()["prompt"]) if prepared.asking else document
    routes = ", each through its own route" if "task" in prepared.identity else ""
    if not (query or document or routes):
        return ""
    return f"{name}: queries are encoded {_shown(query)}, documents {_shown(document)}{routes}"


def _shown(prompt: str) -> str:
    return f"with the prompt '{prompt}'" if prompt else "without a prompt"
