"""Fuzzes readers of files from outside, guided by the code that an input reaches (atheris), for some seconds each.

    python -P tests/helpers/guided.py SECONDS [TARGET ...]

Beside what `refused_or` allows (a right reading, or sentences) everything is a find: it is printed with the bytes that led
to it, and the exit code is 1. The inputs start from the files of `test_fuzz` and `test_fuzz_kept`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

TARGETS = ("entries", "suites", "cards", "collections", "rules", "tsv", "csv", "jsonl")


def reader(target: str, folder: Path) -> tuple[Callable[[bytes], object], list[bytes]]:
    """Return what reads the bytes of a target, and files that it reads without a word."""
    import test_fuzz as kinds
    import test_fuzz_kept as kept

    from hengyu.cards import load_card
    from hengyu.evaluation.gate.rules import read_rules
    from hengyu.methods.grammar import parse_entry
    from hengyu.suites.suite import load_suite

    def file_of(read: Callable[[Path], object]) -> Callable[[bytes], object]:
        path = folder / "input.toml"

        def from_bytes(raw: bytes) -> object:
            path.write_bytes(raw)
            return read(path)

        return from_bytes

    def entry(raw: bytes) -> object:
        text = raw.decode("utf-8", "replace")
        found = parse_entry(text)
        assert parse_entry(str(found)) == found
        return found

    declared = {
        "suites": (load_suite, kinds.SUITE),
        "cards": (load_card, kinds.CARD),
        "collections": (load_card, {**kept.CARD, "hub": kept.HUB}),
        "rules": (read_rules, kinds.RULES),
    }
    if target == "entries":
        seeds = [
            "raw",
            "whitening(dim=8, floor=0.0)",
            "simcse(epochs=1) > whitening(dim=128)",
            'jl(dim=4, seed=7) > "x"',
        ]
        return entry, [s.encode() for s in seeds]
    if target in declared:
        read, content = declared[target]
        return file_of(read), [kinds.toml(content).encode()]
    card = kinds.load_card_of({"scale": [0, 5]})
    whole = {"tsv": kinds.as_tsv, "csv": kinds.as_csv, "jsonl": kinds.as_jsonl}[target]()
    return lambda raw: kinds.read_pairs(raw, target, card), [whole]


def fuzz(target: str, seconds: int, folder: Path) -> None:
    """Fuzz one target in this process, which atheris ends."""
    import atheris

    with atheris.instrument_imports(include=["hengyu"]):
        read, seeds = reader(target, folder)
    from test_fuzz import refused_or

    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    limits = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=20", "-rss_limit_mb=4096", "-verbosity=0"]
    words = [sys.argv[0], *limits, "-print_final_stats=1", f"-artifact_prefix={folder}/found-", str(corpus)]
    atheris.Setup(words, lambda raw: refused_or(lambda: read(raw)) and None)
    atheris.Fuzz()


def main() -> int:
    """Fuzz every target in a process of its own; returns the exit code."""
    seconds, targets = int(sys.argv[1]), sys.argv[2:] or TARGETS
    finds = 0
    for target in targets:
        with tempfile.TemporaryDirectory() as folder:
            words = [sys.executable, "-P", __file__, "one", target, str(seconds), folder]
            done = subprocess.run(words, capture_output=True, text=True, errors="replace")
            runs = next((w.split()[-1] for w in done.stderr.splitlines() if "number_of_executed_units" in w), "?")
            print(f"{target}: {runs} inputs in {seconds} s, {'nothing found' if not done.returncode else 'FOUND'}")
            if done.returncode:
                finds += 1
                said = (done.stdout + done.stderr).splitlines()
                print("\n".join(line for line in said if not line.startswith(("INFO:", "WARNING:")))[:8000])
                for path in sorted(Path(folder).glob("found-*")):
                    print(f"{path.name}: {path.read_bytes()!r}")
    return 1 if finds else 0


if __name__ == "__main__":
    here = Path(__file__).resolve().parents[1]
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    sys.path[:0] = [str(here), str(here.parent / "runners")]
    if sys.argv[1] == "one":
        fuzz(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
    else:
        sys.exit(main())
