"""hengyu validate: suites and cards are read, and every mistake in them is named."""

from pathlib import Path

from click.testing import CliRunner, Result

from hengyu.base.paths import share
from hengyu.cli import main

CARD = """
name = "mine"
columns = { sentence1 = "a", sentence2 = "b", label = "y" }
labels = { scale = [0, 1], kind = "binary" }
[splits.test]
file = "mine.csv"
"""


DATA = "a,b,y\n怎么退款,如何退款,1\n怎么退款,怎么付款,0\n"


def run(*paths: Path | str) -> Result:
    return CliRunner().invoke(main, ["validate", *map(str, paths)], prog_name="hengyu")


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_everything_that_ships_can_be_read() -> None:
    suites, cards = (sorted(share(folder).glob("*.toml")) for folder in ("suites", "datasets"))
    done = run(*suites, *cards)
    assert done.exit_code == 0, done.output
    assert f"valid: {len(suites)} suites, {len(cards)} cards" in done.output


def test_a_suite_may_name_a_card_given_beside_it_or_with_datasets(tmp_path: Path) -> None:
    card = write(tmp_path / "datasets" / "mine.toml", CARD)
    write(tmp_path / "datasets" / "mine.csv", DATA)
    suite = write(tmp_path / "suites" / "mine.toml", 'tasks = ["mine:test"]\nentries = ["raw"]\n')
    assert run(suite, card).exit_code == 0
    assert run(suite, "--datasets", card.parent).exit_code == 0
    alone = run(suite)
    assert alone.exit_code == 2
    assert f"{suite}: task 'mine:test': there is no dataset 'mine'" in alone.output


def test_every_mistake_of_every_file_is_named(tmp_path: Path) -> None:
    card = write(tmp_path / "card.toml", CARD.replace("columns", "colums"))
    suite = write(
        tmp_path / "suite.toml", 'tasks = ["hengyu-sts:tset"]\nentries = ["whitenning"]\npoolings = ["maen"]\n'
    )
    good = write(tmp_path / "good.toml", 'tasks = ["hengyu-sts:tset"]\nentries = ["raw"]\n')
    broken = write(tmp_path / "broken.toml", "tasks = [")
    done = run(card, broken, tmp_path / "nowhere.toml")
    assert done.exit_code == 2
    for part in ("did you mean 'columns'", f"{broken}: not valid TOML", "nowhere.toml: no such file"):
        assert part in done.output
    done = run(suite, good)
    assert done.exit_code == 2
    for part in ("did you mean 'whitening'", "did you mean 'mean'", "did you mean 'test'"):
        assert part in done.output, done.output
    assert "Traceback" not in done.output
    assert run().exit_code == 2


def test_data_are_read_and_described(tmp_path: Path) -> None:
    card = write(tmp_path / "mine.toml", CARD)
    missing = run(card)
    assert missing.exit_code == 2 and "mine:test is not here" in missing.output
    assert run(card, "--keys-only").exit_code == 0
    data = write(tmp_path / "mine.csv", f"{DATA}怎么退款,如何退款,0\n如何退款,怎么退款,1\n退款,退款,0\n")
    done = run(card)
    assert done.exit_code == 0
    for line in (
        "mine:test: 5 pairs, labels 0 (3), 1 (2)",
        "1 pair repeats an earlier pair (line 4)",
        "1 pair repeats an earlier pair in the other order (line 5)",
        "1 pair contradicts an earlier pair: the same two sentences with a different label (line 4)",
        "1 pair holds the same sentence twice and a low label (line 6)",
    ):
        assert line in done.output, done.output
    write(data, f"{DATA}怎么退款,如何退款,好\n")
    broken = run(card)
    assert broken.exit_code == 2
    assert f"{data}: line 4: the label must be a number" in broken.output
    # of a suite, the data of its tasks
    suite = write(tmp_path / "suite.toml", 'tasks = ["mine:test"]\nentries = ["raw"]\n')
    assert run(suite, "--datasets", tmp_path).exit_code == 2
    assert run(suite, "--datasets", tmp_path, "--keys-only").exit_code == 0


def test_dropped_lines_are_counted(tmp_path: Path) -> None:
    card = write(tmp_path / "mine.toml", f'malformed = "drop"\n{CARD}')
    write(tmp_path / "mine.csv", f"{DATA}坏\n")
    assert "1 malformed line left out (line 4)" in run(card).output


def test_data_that_can_be_fetched_are_no_mistake() -> None:
    done = run(share("datasets", "LCQMC.toml"))
    assert done.exit_code == 0
    assert "not here, and not checked: LCQMC:" in done.output
