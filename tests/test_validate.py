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
    assert f"{len(suites)} suites and {len(cards)} cards can be read" in done.output


def test_a_suite_may_name_a_card_given_beside_it_or_with_datasets(tmp_path: Path) -> None:
    card = write(tmp_path / "datasets" / "mine.toml", CARD)
    suite = write(tmp_path / "suites" / "mine.toml", 'tasks = ["mine:test"]\nentries = ["raw"]\n')
    assert run(suite, card).exit_code == 0
    assert run(suite, "--datasets", card.parent).exit_code == 0
    alone = run(suite)
    assert alone.exit_code == 2
    assert f"{suite}: task 'mine:test': no dataset is called 'mine'" in alone.output


def test_every_mistake_of_every_file_is_named(tmp_path: Path) -> None:
    card = write(tmp_path / "card.toml", CARD.replace("columns", "colums"))
    suite = write(
        tmp_path / "suite.toml", 'tasks = ["hengyu-sts:tset"]\nentries = ["whitenning"]\npoolings = ["maen"]\n'
    )
    good = write(tmp_path / "good.toml", 'tasks = ["hengyu-sts:tset"]\nentries = ["raw"]\n')
    broken = write(tmp_path / "broken.toml", "tasks = [")
    done = run(card, broken, tmp_path / "nowhere.toml")
    assert done.exit_code == 2
    for part in ("did you mean 'columns'", f"{broken}: not TOML", "nowhere.toml: no such file"):
        assert part in done.output
    done = run(suite, good)
    assert done.exit_code == 2
    for part in ("did you mean 'whitening'", "did you mean 'mean'", "did you mean 'test'"):
        assert part in done.output, done.output
    assert "Traceback" not in done.output
    assert run().exit_code == 2
