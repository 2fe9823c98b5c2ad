"""The speed of encoding: the operations counted are those of the model, and the command prints what was measured."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from hengyu.base.errors import HengyuError
from hengyu.cli import main
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.tools.throughput import flops_per_token, measure, peak


def test_operations_are_those_of_the_matrix_products(tiny_bert: Path) -> None:
    folder = open_encoder(EncoderSpec(str(tiny_bert))).folder
    layer = 4 * 32 * 32 + 2 * 32 * 64  # query, key, value, output; up and down
    assert flops_per_token(folder, 10.0) == 2 * 3 * layer + 4 * 32 * 10 * 3


def test_operations_agree_with_what_pytorch_counts(tiny_bert: Path) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    encoder = open_encoder(EncoderSpec(str(tiny_bert)))
    text = "今天天气真好我们去公园散步吧"
    tokens = len(encoder.tokenizer([text])[0][0])
    with FlopCounterMode(display=False) as counter:
        encoder.encode([text], ["mean"])
    pooler = 2 * 32 * 32  # sees one token
    # the fused attention of the CPU is not counted there
    assert counter.get_total_flops() - pooler == tokens * flops_per_token(encoder.folder, 0.0)


def test_what_is_measured_hangs_together(tiny_bert: Path) -> None:
    texts = ["今天天气真好", "我们去公园", "他在家学习"]
    specs = [EncoderSpec(str(tiny_bert), dtype=d) for d in ("float32", "bfloat16")]
    found = list(measure(specs, texts, [1], seconds=0.1))
    assert [(f.spec.dtype, f.threads) for f in found] == [("float32", 1), ("bfloat16", 1)]
    for f in found:
        assert f.tokens > f.texts > 0 and f.peak > 1e6 and 0 < f.share < 1
    assert found[0].drift == pytest.approx(0, abs=1e-12) and 0 < found[1].drift < 0.05
    assert peak("float32", repeats=1) > 1e6
    with pytest.raises(HengyuError, match="no text to encode"):
        next(measure(specs, [], [1]))


def test_the_command(tiny_bert: Path, tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("今天天气真好\n我们去公园\n", encoding="utf-8")
    words = ["bench-encode", str(lines), "--encoder", str(tiny_bert), "--seconds", "0.1", "--threads", "1"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert "share of peak" in done.stdout and done.stdout.count("torch") == 3
    assert "fastest:" in done.stdout
