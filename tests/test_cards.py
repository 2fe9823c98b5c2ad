"""Cards: the shipped ones are complete, and every mistake in one's own is named with file, key and remedy."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hengyu.base.errors import HengyuError
from hengyu.base.paths import share
from hengyu.cards import find_card, load_card, load_cards, parse_task
from hengyu.cards.card import Card

BINARY = ("AFQMC", "ATEC", "BQ", "Cmnli", "LCQMC", "Ocnli", "PAWSX", "hengyu-questions")
GRADED = ("QBQTC", "STS-B", "STS22-zh", "STSB-multi-mt-zh", "hengyu-sts", "ustsc", "ustsu")
NAMES = sorted((*BINARY, *GRADED))
LABELS = {"Ocnli": "labels", "Cmnli": "labels", "STSB-multi-mt-zh": "similarity_score"}  # on the hub
RERANKING = ["CMedQAv1-reranking", "CMedQAv2-reranking", "MMarcoReranking", "T2Reranking"]
SMALL = """name = "mine"
columns = { sentence1 = "a", sentence2 = "b", label = "score" }
labels = { scale = [0, 5] }
[splits.test]
file = "mine.tsv"
"""


def card_of(folder: Path, text: str, name: str = "mine") -> Card:
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return load_card(path)


POINTERS = [
    *("SOHU-dc", "SOHU-dd"),
    *(f"SOHU-{code}-{letter}" for code in ("ss", "sl", "ll") for letter in "AB"),
    *("BUSTM", "CINLID", "CNSD-MNLI", "CNSD-SNLI", "OPPO", "SimCLUE"),
]


def test_shipped_names() -> None:
    by_kind = {kind: sorted(c.name for c in load_cards().values() if c.kind == kind) for kind in ("sts", "retrieval")}
    assert by_kind["sts"] == sorted([*NAMES, *POINTERS])
    # tests/test_mteb_retrieval.py holds these against mteb
    searched = [f"{name}Retrieval" for name in ("T2", "MMarco", "Du", "Covid", "Cmedqa", "Ecom", "Medical", "Video")]
    assert by_kind["retrieval"] == sorted(searched + RERANKING)


@pytest.mark.parametrize("name", NAMES)
def test_shipped_card_is_complete(name: str) -> None:
    card = load_cards()[name]
    assert card.path.stem == card.name == name
    assert card.kind == "sts"
    assert all((card.title, card.language == "zh", card.licence, card.terms, card.homepage, card.citation))
    assert card.binary == (name in BINARY)
    assert (card.raters is not None) == (name in ("hengyu-sts", "ustsc", "ustsu"))
    assert (card.hub is None) == (name.startswith("hengyu-") or card.raters is not None)
    if card.hub:
        assert re.fullmatch(r"[0-9a-f]{40}", card.hub.revision)
        assert card.hub.columns.label == LABELS.get(name, "score")
    for split in card.splits.values():
        assert split.rows
        assert bool(split.hub) == (card.hub is not None)


@pytest.mark.parametrize("name", POINTERS)
def test_a_card_of_data_that_was_not_here_says_where_it_is_and_under_which_terms(name: str) -> None:
    card = load_cards()[name]
    assert card.path.stem == card.name == name
    assert all((card.title, card.language == "zh", card.licence, card.terms, card.homepage, card.citation))
    assert card.description
    assert not any(split.url and not split.sha256 for split in card.splits.values())


def test_pinned_digests_are_those_of_the_published_list() -> None:
    pinned = {s.file: s.sha256 for c in load_cards().values() for s in c.splits.values() if s.sha256}
    assert len(pinned) == 11 + 6 + 6 + 2 + 9
    assert pinned["LCQMC/LCQMC.test.data"].startswith("8969f9c1")
    assert pinned["STS-B/STS-B.train.data"].startswith("45690447")


def test_our_own_data_are_whole() -> None:
    for name, rows in (("hengyu-sts", 2572 + 1137 + 3608), ("hengyu-questions", 722 + 298 + 977)):
        for split in load_cards()[name].splits.values():
            content = share("datasets", split.file).read_bytes()
            assert hashlib.sha256(content).hexdigest() == split.sha256
        ratings = share("datasets", name, "ratings.tsv").read_bytes().splitlines()
        assert len(ratings) == 1 + rows


def test_no_python_beside_the_data() -> None:
    # a datasets/ with Python in it would be taken for Hugging Face's package of that name
    for folder in ("datasets", "suites", "reports"):
        assert not list(share(folder).rglob("*.py"))


def test_small_card_takes_defaults(tmp_path: Path) -> None:
    card = card_of(tmp_path, SMALL)
    assert (card.scale, card.label_kind, card.header, card.malformed) == ((0.0, 5.0), "graded", True, "error")
    assert card.splits["test"].rows is None
    assert card.hub is None
    assert card.default_path("test") == tmp_path / "mine.tsv"


def test_positions_mean_no_header(tmp_path: Path) -> None:
    text = SMALL.replace('"a"', "1").replace('"b"', "2").replace('"score"', "0")
    card = card_of(tmp_path, text)
    assert not card.header
    assert card.columns.label == 0
    assert card_of(tmp_path, "header = true\n" + text).header
    bare = card_of(
        tmp_path, 'name = "x"\nheader = false\nlabels = { scale = [0, 5] }\n[splits.test]\nfile = "x.data"\n'
    )
    assert (bare.columns.sentence1, bare.columns.sentence2, bare.columns.label) == (0, 1, 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('"mine"', '"a/b"'), "key 'name' must be letters"),
        (('"mine"', '""'), "key 'name' must be letters"),
        (("name =", "nmae ="), "key 'name' is missing"),
        (("[0, 5]", f"[0, 1{'0' * 400}]"), "key 'labels.scale' must be the lowest and the highest label"),
        (("labels =", "lables ="), "key 'lables' is unknown; did you mean 'labels'?"),
        (("labels =", "lables ="), "key 'labels' is missing; add the lowest and the highest label"),
        (("[0, 5]", "[5, 0]"), "key 'labels.scale' must be the lowest and the highest label"),
        (("[0, 5]", "[0, nan]"), "key 'labels.scale' must be the lowest and the highest label"),
        (("[0, 5]", '"0-5"'), "key 'labels.scale' must be a list"),
        (("[0, 5]", "[0, 1]"), "key 'labels.kind' is needed with the scale [0, 1]"),
        (("[0, 5]", '[0, 5], kind = "binary"'), "goes with scale = [0, 1] only"),
        (("[0, 5]", '[0, 5], kind = "grade"'), "did you mean 'graded'?"),
        (("[0, 5]", "[0, 5], top = 1"), "key 'labels.top' is unknown"),
        (("sentence1 =", "sentence_1 ="), "key 'columns.sentence_1' is unknown; did you mean 'sentence1'?"),
        (('"b"', "-1"), "key 'columns.sentence2' must be a column's name, or its position"),
        (('"b"', '"a"'), "must be three different columns"),
        (('"mine.tsv"', '"mine.doc"'), "key 'splits.test.file' has an extension of no known format"),
        (('"mine.tsv"', '"mine.xls"'), "key 'splits.test.file' is an Excel workbook"),
        (('"mine.tsv"', '"../mine.tsv"'), "key 'splits.test.file' must be a path below the card's folder"),
        (('"mine.tsv"', '"/etc/passwd.tsv"'), "key 'splits.test.file' must be a path below the card's folder"),
        (('"mine.tsv"', "'C:\\mine.tsv'"), "key 'splits.test.file' must be a path below the card's folder"),
        (('"mine.tsv"', '"mine.tsv"\nrow = 3'), "key 'splits.test.row' is unknown; did you mean 'rows'?"),
        (('"mine.tsv"', '"mine.tsv"\nrows = 0'), "key 'splits.test.rows' must be at least 1"),
        (('"mine.tsv"', '"mine.tsv"\nsha256 = "abc"'), "key 'splits.test.sha256' must be 64 hex digits"),
        (("splits.test", "splits.target"), "'target' is reserved"),
        (("splits.test", "split.test"), "key 'split' is unknown; did you mean 'splits'?"),
        (("file =", "files ="), "key 'splits.test.file' is missing"),
        (("name =", 'malformed = "skip"\nname ='), "key 'malformed' has the unknown value 'skip'"),
        (("name =", "header = false\nname ="), "key 'columns' must be positions from 0, because header = false"),
        (("name =", 'hub = { id = "x/y", revision = "main" }\nname ='), "key 'hub.revision' must be a commit"),
        (("name =", 'hub = { id = "x" }\nname ='), "key 'hub.id' must be owner/name"),
    ],
)
def test_mistakes_in_a_card(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    assert change[0] in SMALL
    with pytest.raises(HengyuError) as e:
        card_of(tmp_path, SMALL.replace(*change))
    assert said in str(e.value)
    assert all(p.startswith(str(tmp_path / "mine.toml")) for p in e.value.problems)


def test_columns_of_jsonl_go_by_name(tmp_path: Path) -> None:
    text = SMALL.replace("mine.tsv", "mine.jsonl.gz").replace('"a"', "0").replace('"b"', "1").replace('"score"', "2")
    with pytest.raises(HengyuError, match="is jsonl, whose columns have names"):
        card_of(tmp_path, text)


def test_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cards").mkdir()
    (tmp_path / "secret.tsv").write_text("a\tb\tscore\n")
    (tmp_path / "cards" / "mine.tsv").symlink_to(tmp_path / "secret.tsv")
    card = card_of(tmp_path / "cards", SMALL)
    with pytest.raises(HengyuError, match="leads out of .* through a link"):
        card.default_path("test")


def test_digest_follows_content_not_prose(tmp_path: Path) -> None:
    one = card_of(tmp_path, SMALL)
    prose = card_of(tmp_path, '# a comment\ntitle = "T"\nlicence = "mine"\n' + SMALL, "other")
    other = card_of(tmp_path, SMALL.replace("[0, 5]", "[0, 4]"))
    assert one.digest == prose.digest != other.digest
    assert len({c.digest for c in load_cards().values()}) == len(load_cards())


def test_extra_cards_and_names_taken(tmp_path: Path) -> None:
    card_of(tmp_path, SMALL)
    assert "mine" in load_cards([tmp_path])
    assert "mine" in load_cards([tmp_path, tmp_path / "mine.toml"])  # the same file twice is one card
    (tmp_path / "shadow.toml").write_text(SMALL.replace('"mine"', '"lcqmc"'), encoding="utf-8")
    with pytest.raises(HengyuError) as e:
        load_cards([tmp_path])
    assert str(tmp_path / "shadow.toml") in str(e.value)
    assert str(share("datasets", "LCQMC.toml")) in str(e.value)


def test_a_suite_beside_the_cards_is_passed_over(tmp_path: Path) -> None:
    card_of(tmp_path, SMALL)
    (tmp_path / "suite.toml").write_text('name = "mine"\ntasks = ["mine:test"]\n', encoding="utf-8")
    assert load_cards([tmp_path]).keys() - load_cards().keys() == {"mine"}
    (tmp_path / "mine.toml").unlink()
    with pytest.raises(HengyuError, match="no card"):
        load_cards([tmp_path])
    (tmp_path / "half.toml").write_text('name = "half"\n', encoding="utf-8")
    with pytest.raises(HengyuError, match="'labels' is missing"):
        load_cards([tmp_path])
    (tmp_path / "half.toml").write_text("tasks = [", encoding="utf-8")
    with pytest.raises(HengyuError, match="not valid TOML"):
        load_cards([tmp_path])


def test_missing_folder_of_cards(tmp_path: Path) -> None:
    with pytest.raises(HengyuError, match="check --datasets"):
        load_cards([tmp_path / "nowhere"])


def test_tasks_by_word() -> None:
    cards = load_cards()
    card, split = parse_task(cards, "lcqmc:test")
    assert (card.name, split) == ("LCQMC", "test")
    assert find_card(cards, "sts-b").name == "STS-B"
    for word, said in (
        ("LCQCM:test", "there is no dataset 'LCQCM'; did you mean 'LCQMC'?"),
        ("LCQMC:tset", "LCQMC has no split 'tset'; did you mean 'test'?"),
        ("LCQMC", "names no split; write LCQMC:test"),
        ("LCQMC:", "names no split"),
        (":test", "there is no dataset ''"),
    ):
        with pytest.raises(HengyuError, match=re.escape(said)):
            parse_task(cards, word)


def test_list_datasets(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from hengyu.cli import main

    card_of(tmp_path, SMALL)
    result = CliRunner().invoke(main, ["list", "datasets", "--datasets", str(tmp_path)])
    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: line for line in result.output.splitlines() if line.split()}
    assert set(NAMES) < set(lines)
    assert "shipped" in lines["hengyu-sts"]
    assert "train 2,572, valid 1,137, test 3,608" in lines["hengyu-sts"]
    assert "missing" in lines["LCQMC"]
    assert "C-MTEB/LCQMC" in lines["LCQMC"]
    assert "missing" in lines["mine"]


def test_help_is_light() -> None:
    # what makes a command line slow is what it imports, and that can be counted on any machine
    code = (
        "import sys; from hengyu.cli import main; from hengyu.cli.commands import fetch, list\n"
        "for args in (['list', '--help'], ['fetch', '--help']): main(args, standalone_mode=False)\n"
        "print(sorted({'numpy', 'pandas', 'pyarrow', 'huggingface_hub', 'rich', 'torch'} & set(sys.modules)))"
    )
    source = str(Path(load_card.__code__.co_filename).parents[1])
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {source!r}); {code}"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
