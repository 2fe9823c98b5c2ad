"""The old place of `hengyu.tools.export_model.steps`: models exported by version 0.1 load their steps from here."""

from hengyu.tools.export_model.steps import Step

__all__ = ["Step"]
