"""The documentation: its examples run, its commands exist, no method is forgotten, and the site opens offline."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from html import escape, unescape
from importlib import import_module
from importlib.machinery import SourceFileLoader
from inspect import getdoc
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from helpers.examples import ROOT, Block, blocks, commands, documents

import hengyu
from hengyu import cards
from hengyu.base.errors import HengyuError
from hengyu.cards import keys as card_keys
from hengyu.cli import main
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.methods import method_names
from hengyu.methods.registry import find_method
from hengyu.suites import suite as suites

HOOKS = SourceFileLoader("mkdocs_hooks", str(ROOT / "mkdocs_hooks.py")).load_module()
NOTES, FORMULAS, PARAMETERS = (ROOT / "docs" / name for name in (HOOKS.NOTES, HOOKS.FORMULAS, HOOKS.PARAMETERS))
DOCUMENTS = {str(p.relative_to(ROOT)): p for p in documents()}
RUN = [name for name, path in DOCUMENTS.items() if any(b.mark == "run" for b in blocks(path))]
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*\.\d+")


def parsed(line: str) -> None:
    """Hold a line against click's parsers: the command exists, so do its options, and choices are among those there are."""
    words = shlex.split(line)[1:]
    command: click.Command = main
    context = click.Context(main, info_name="hengyu")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words.pop(0))
        assert found is not None, line
        context = click.Context(found, parent=context, info_name=found.name)
        command = found
    given, _, _ = command.make_parser(context).parse_args(words)
    for parameter in command.params:
        if isinstance(parameter.type, click.Choice) and isinstance(given.get(parameter.name or ""), str):
            parameter.type.convert(given[parameter.name or ""], parameter, context)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_that_is_written_exists(name: str) -> None:
    for line in commands(DOCUMENTS[name]):
        try:
            parsed(line)
        except click.UsageError as e:
            pytest.fail(f"{name}: '{line}': {e.format_message()}")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_command_stands_in_a_block(name: str) -> None:
    for line in re.sub(r"(?ms)^```.*?^```$", "", DOCUMENTS[name].read_text(encoding="utf-8")).splitlines():
        assert not re.match(r"(\.venv/bin/)?hengyu |make [a-z]+ ", line), line


@pytest.mark.parametrize("line", ["hengyu rum smoke", "hengyu run smoke --tsk A:test", "hengyu list sweets"])
def test_a_wrong_command_is_seen(line: str) -> None:
    with pytest.raises(click.UsageError):
        parsed(line)


def test_the_commands_of_all_kinds_of_block_are_found(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(
        "Say `hengyu list\nsuites`.\n\n    hengyu run a   # why\n\n```sh\nhengyu fetch b && hengyu run c\n```\n"
    )
    assert sorted(commands(path)) == ["hengyu fetch b", "hengyu list suites", "hengyu run a", "hengyu run c"]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_toml_and_python_examples_are_well_formed(name: str) -> None:
    for block in blocks(DOCUMENTS[name]):
        if block.kind == "toml":
            tomllib.loads(block.text)
        if block.kind == "python":
            compile(block.text, f"{name}:{block.line}", "exec")


def spoken(block: Block, output: str) -> None:
    """Hold what a page shows against an output: each line in it, numbers within a tenth of a point, spaces aside."""

    def shape(text: str) -> str:
        return " ".join(_NUMBER.sub("#", text).split())

    def values(text: str) -> list[float]:
        return [float(v.replace(",", "")) for v in _NUMBER.findall(text)]

    there = output.splitlines()
    for line in filter(None, map(str.strip, block.text.splitlines())):
        alike = [t for t in there if shape(line) in shape(t)]
        assert any(
            all(abs(x - y) <= 0.1 for x, y in zip(values(line), values(t)[-len(values(line)) :], strict=False))
            for t in alike
        ), f"line {block.line}: '{line}' is not in\n{output}"


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache for all pages: what one page encodes, the next one reads."""
    yield tmp_path_factory.mktemp("vectors")


@pytest.mark.parametrize("name", [n if n == "README.md" else pytest.param(n, marks=pytest.mark.long) for n in RUN])
def test_examples_do_what_their_page_shows(
    name: str, vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HENGYU_CACHE", str(vectors))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    output = ""
    for block in blocks(DOCUMENTS[name]):
        if block.mark.startswith("file: "):
            file = Path(block.mark.removeprefix("file: "))
            file.parent.mkdir(exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        elif block.mark == "run" and block.kind == "python":
            exec(compile(block.text, f"{name}:{block.line}", "exec"), names)
        elif block.mark == "run":
            output = ""
            for line in block.text.splitlines():
                done = CliRunner().invoke(main, shlex.split(line)[1:], prog_name="hengyu")
                assert done.exit_code == 0, f"{name}: '{line}':\n{done.output}\n{done.exception!r}"
                output += done.output
        elif block.mark == "shows":
            spoken(block, output)


def test_what_a_page_shows_wrongly_is_seen() -> None:
    block = Block("shows", "text", "mean  raw  none  37.85\n", 1)
    spoken(block, " 3  hengyu-mini   mean raw   none   37.84")
    for wrong in (" 3  hengyu-mini   mean raw   none   37.65", " 3  hengyu-mini   cls raw   none   37.85", ""):
        with pytest.raises(AssertionError):
            spoken(block, wrong)


def test_every_method_has_a_card_with_formula_and_advice() -> None:
    notes, formulas = NOTES.read_text(encoding="utf-8"), FORMULAS.read_text(encoding="utf-8")
    parameters = PARAMETERS.read_text(encoding="utf-8")
    made = HOOKS.method_pages(notes, formulas, parameters)
    chinese = (ROOT / "docs/zh/methods.md").read_text(encoding="utf-8")
    for name in method_names():
        card = made[f"methods/{name}.md"]
        assert HOOKS.signature(name) in " ".join(card.split()) and f"[{name}]({name}.md)" in made["methods/index.md"]
        advice = HOOKS.advice(notes, name)
        assert len(advice) > 40, f"{NOTES} needs a section '## {name}': when it helps or hurts"
        assert advice in card
        if find_method(name).category in ("transform", "code", "similarity", "fusion", "lexical"):
            assert HOOKS.formula(formulas, name), f"{FORMULAS} needs a section '## {name}'"
        assert f"(../methods/{name}.md)" in chinese, f"docs/zh/methods.md needs a line for {name}"


def test_every_parameter_is_explained_and_none_that_is_not_there() -> None:
    parameters = PARAMETERS.read_text(encoding="utf-8")
    sections = re.split(r"(?m)^## ", parameters)[1:]
    said = {(s.split("\n")[0], p) for s in sections for p in re.findall(r"(?m)^- (\S+): ", s)}
    used = set()
    for name in method_names():
        for parameter in HOOKS.own_parameters(name):
            assert HOOKS.meaning(parameters, name, parameter), f"{PARAMETERS} needs a line on {parameter} of {name}"
            used.add((name, parameter) if (name, parameter) in said else ("*", parameter))
    assert said == used


def test_papers_are_links() -> None:
    made = HOOKS.linked(
        '<p>Su, arXiv:2103.15316 and kexue.fm 8847 <code>arXiv:1111.22222</code> <a href="x">arXiv:1111.22223</a></p>'
    )
    assert made == (
        '<p>Su, <a href="https://arxiv.org/abs/2103.15316">arXiv:2103.15316</a> and '
        '<a href="https://kexue.fm/archives/8847">kexue.fm 8847</a> <code>arXiv:1111.22222</code> '
        '<a href="x">arXiv:1111.22223</a></p>'
    )


def test_advice_and_formulas_are_of_methods_that_exist() -> None:
    notes, formulas = NOTES.read_text(encoding="utf-8"), FORMULAS.read_text(encoding="utf-8")
    assert sorted(re.findall(r"(?m)^## (.*)$", notes)) == sorted(method_names())
    assert set(re.findall(r"(?m)^## (.*)$", formulas)) <= set(method_names())


def test_formulas_are_mathml() -> None:
    made = HOOKS.mathml(
        '<p>so <span class="arithmatex">\\(x_i &lt; 1\\)</span></p><div class="arithmatex">\\[\ny = x^2\n\\]</div>'
    )
    assert "arithmatex" not in made and made.count("<math") == 2 and 'display="block"' in made
    assert "<msub><mi>x</mi><mi>i</mi></msub><mo>&#x0003C;</mo><mn>1</mn>" in made
    assert "<msup><mi>y</mi>" not in made and "<msup><mi>x</mi><mn>2</mn></msup>" in made
    for tex in re.findall(r"(?ms)^## [^\n]*\n\n(.*?)\n\n", FORMULAS.read_text(encoding="utf-8") + "\n\n"):
        made = HOOKS.mathml(f'<div class="arithmatex">\\[{escape(tex)}\\]</div>')
        # a command that the library does not know stands in the text as it was written
        assert "\\" not in re.sub(r"<[^>]*>|&#x0005C;", "", made), tex


def test_every_public_name_is_in_the_reference_with_an_example_that_runs() -> None:
    page = DOCUMENTS["docs/reference/python.md"].read_text(encoding="utf-8")
    _, *parts = re.split(r"(?m)^::: ", page)
    examples = dict(part.split("\n", 1) for part in parts)
    assert sorted(examples) == sorted(f"hengyu.{name}" for name in {*hengyu.__all__} - {"__version__"})
    for name, text in examples.items():
        assert "<!-- run -->\n```python\n" in text, name


@pytest.mark.long
def test_the_recipe_for_pickled_weights_makes_a_folder_that_can_be_evaluated(tiny_bert: Path, tmp_path: Path) -> None:
    """Run by transformers in a process of its own, as its reader would; nothing of ours reads the pickle."""
    text = next(
        b.text
        for b in blocks(DOCUMENTS["docs/models.md"])
        if "pytorch_model.bin" not in b.text and "use_safetensors=False" in b.text
    )
    program = text.partition("<<'END'\n")[2].partition("END\n")[0]
    (tmp_path / "pickled").mkdir()
    make = (
        "import sys, torch; from transformers import AutoModel as M; "
        "torch.save(M.from_pretrained(sys.argv[1]).state_dict(), sys.argv[2] + '/pytorch_model.bin')"
    )
    for path in tiny_bert.iterdir():
        if path.suffix != ".safetensors":
            shutil.copy(path, tmp_path / "pickled")
    wanted = open_encoder(EncoderSpec(str(tiny_bert))).encode(["今天天气真好"], ["mean"])["mean"]
    subprocess.run([sys.executable, "-c", make, str(tiny_bert), str(tmp_path / "pickled")], check=True)
    with pytest.raises(HengyuError, match="pickled weights are never loaded"):
        open_encoder(EncoderSpec(str(tmp_path / "pickled")))
    command = [sys.executable, "-", str(tmp_path / "pickled"), str(tmp_path / "anew")]
    subprocess.run(command, input=program, text=True, check=True)
    anew = open_encoder(EncoderSpec(str(tmp_path / "anew"))).encode(["今天天气真好"], ["mean"])["mean"]
    assert (anew == wanted).all()


def test_every_key_of_suites_and_cards_is_explained() -> None:
    text = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
    keys = {f.name for f in fields(EncoderSpec)}
    for module in (suites, cards, card_keys, import_module("hengyu.cards.collection_card")):
        taken = r'\b(?:take|strings|table|has|word|file_key)\((?:\w+, )?"(\w+)"'
        keys |= set(re.findall(taken, Path(module.__file__).read_text(encoding="utf-8")))
    assert len(keys) > 40
    assert {k for k in keys if f"`{k}`" not in text and f"`[{k}]`" not in text} == set()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True))
    return folder


def shown(page: Path) -> str:
    """The text of a built page, spaces aside."""
    article = page.read_text(encoding="utf-8").partition("<article")[2].partition("</article>")[0]
    return " ".join(unescape(re.sub(r"<[^>]*>", "", article)).split())


def test_the_command_line_reference_has_every_command_and_option(site: Path) -> None:
    page = site / "reference" / "cli.html"
    text, html = shown(page), page.read_text(encoding="utf-8")

    def walk(command: click.Command, words: tuple[str, ...]) -> None:
        assert f'id="{"-".join(words)}"' in html, words  # the command's own name, not its function's
        assert " ".join((command.help or "").replace("\b", "").replace("`", "").replace("* ", "").split()) in text
        for p in command.params:
            assert all(o in text for o in p.opts if o.startswith("--"))
        if isinstance(command, click.Group):
            context = click.Context(command)
            for word in command.list_commands(context):
                below = command.get_command(context, word)
                assert below is not None
                walk(below, (*words, word))

    walk(main, ("hengyu",))


def test_a_built_page_has_what_the_docstrings_say(site: Path) -> None:
    """Markdown takes stars, brackets and angles for markup: a formula that lost one is not in the page."""
    for name in method_names():
        text = shown(site / "methods" / f"{name}.html")
        for paragraph in (getdoc(find_method(name)) or "").replace("`", "").split("\n\n"):
            if not re.search(r"(?m)^(\* |\w+:$)", paragraph):  # a list, or a named section
                for part in re.split(r"\$[^$]*\$", " ".join(paragraph.split())):  # TeX is MathML on the page
                    assert part.strip() in text, name
    text = shown(site / "reference" / "python.html")
    for thing in (hengyu.score, hengyu.run, hengyu.frame, hengyu.Score, hengyu.estimators, hengyu.Score.ceiling_share):
        first = (getdoc(thing) or "").replace("`", "").split("\n\n")[0]
        assert " ".join(first.split()) in text, thing
    assert "resamples (int, default: 1000 ) – number of resamples" in text


def test_the_site_asks_no_other_machine(site: Path) -> None:
    built = list(site.rglob("*.html"))
    assert len(built) > len(method_names())
    for path in built:
        text = path.read_text(encoding="utf-8")
        for tag in re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", text):
            assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", tag), (path.name, tag)


# words of Chinese are parted by spaces without a width
RESULTS = "return document.querySelector('.md-search-result__list').textContent.replaceAll('\u200b', '')"


@pytest.mark.browser
def test_the_site_is_searched_from_the_disk(chromium: Any, site: Path) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    chromium.get_log("browser"), chromium.get_log("performance")
    size = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    chromium.get((site / "methods" / "whitening.html").as_uri())
    field = chromium.find_element("css selector", ".md-search__input")
    waiting = WebDriverWait(chromium, 60, poll_frequency=2)
    waiting.until(lambda _: field.is_displayed())
    for word, found in (("simcse", "simcse"), ("白化", "方法一览")):

        def finds(driver: Any, word: str = word, found: str = found) -> bool:
            if found in driver.execute_script(RESULTS):
                return True
            field.click()  # what was typed before the page listened is typed again
            field.clear()
            field.send_keys(word)
            return False

        waiting.until(finds)
    assert [entry["message"] for entry in chromium.get_log("browser")] == []
    events = (json.loads(entry["message"])["message"] for entry in chromium.get_log("performance"))
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert {url.split(":")[0] for url in asked} <= {"file", "data", "blob", "about", "chrome", "chrome-untrusted"}
