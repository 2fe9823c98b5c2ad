"""The check of a GPU runs on the CPU with a tiny model, so that a machine with a GPU is not needed to keep it working."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

_SPEC = spec_from_file_location("device_check", Path(__file__).parent / "perf" / "device.py")
assert _SPEC is not None and _SPEC.loader is not None
device = module_from_spec(_SPEC)
_SPEC.loader.exec_module(device)


def test_a_dry_run_measures_all_that_the_check_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert device.main(["--dry-run", "--out", str(tmp_path)]) == 0, capsys.readouterr()
    found = json.loads((tmp_path / "device.json").read_text(encoding="utf-8"))
    assert [row["dtype"] for row in found["encoding"]] == list(device.NEAR)
    for row in found["encoding"]:
        assert row["tokens_per_second"] > 0 and 0 < row["share_of_peak"] < 1
        assert row["largest_cosine_distance"] <= device.NEAR[row["dtype"]]
    assert found["encoding"][0]["largest_cosine_distance"] < 1e-9  # the CPU against itself
    [trained] = found["simcse"]
    assert trained["before"] is not None and trained["after"] is not None and trained["before"] != trained["after"]
    assert found["amiss"] == []


def test_help_and_a_missing_device_are_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as ended:
        device.main(["--help"])
    assert ended.value.code == 0 and "--dry-run" in capsys.readouterr().out
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.main([]) == 2
    assert "PyTorch sees no GPU here" in capsys.readouterr().err
