"""What the docs list, held against the code."""

import dataclasses
import re
import runpy
from pathlib import Path

from converter.options import ConvertOptions
from converter.rejects import Reason
from multihot.settings import flag_name
from schemas import layout

_ROOT = Path(__file__).parents[1]


def test_the_reasons_in_the_docs_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (_ROOT / "docs" / "rejects.md").read_text(), re.MULTILINE)
    assert rows == [reason.value for reason in Reason]


def test_the_tables_of_flags_in_the_docs_follow_from_the_settings() -> None:
    for path, text in runpy.run_path(str(_ROOT / "scripts" / "flag_tables.py"))["pages"]().items():
        assert path.read_text() == text, f"{path.name} is not current: python scripts/flag_tables.py"


def test_the_docs_name_every_flag_of_the_converter_outside_of_the_table() -> None:
    pages = "".join((_ROOT / "docs" / page).read_text() for page in ("converting.md", "rejects.md"))
    text = re.sub("^[|].*$", "", pages, flags=re.MULTILINE)
    flags = [flag_name(field) for field in dataclasses.fields(ConvertOptions)]
    assert not [flag for flag in flags if f"--{flag}" not in text]


def test_the_docs_list_every_file_of_a_dataset() -> None:
    page = (_ROOT / "docs" / "converting.md").read_text()
    names = [value for name, value in vars(layout).items() if name.isupper() and name[0] != "_"]
    names.remove(layout.SHARD_ENDING)
    assert not [name for name in names if not re.search(rf"^\|.*`{name}/?`.*\|", page, re.MULTILINE)]


def test_the_readme_names_every_file_of_a_dataset() -> None:
    readme = (_ROOT / "README.md").read_text()
    names = [value for name, value in vars(layout).items() if name.isupper() and not name.startswith("_")]
    assert names
    assert not [name for name in names if name not in readme]


def test_every_guarantee_has_tests() -> None:
    commands = re.findall(
        r"`(tests/[\w/]+\.py)(?: -k (\"[^\"]+\"|\w+))?`", (_ROOT / "docs" / "guarantees.md").read_text()
    )
    assert len(commands) > 30
    for path, words in commands:
        names = re.findall(r"^def (test_\w+)", (_ROOT / path).read_text(), re.MULTILINE)
        for word in words.strip('"').split(" or "):
            assert any(word in name for name in names), f"{path} has no test of {word!r}"


def test_links_between_the_docs_lead_somewhere() -> None:
    for page in (*_ROOT.glob("*.md"), *(_ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_code_that_opens_a_dataset_is_that_of_the_programs_that_the_tests_run() -> None:
    page = (_ROOT / "docs" / "readers.md").read_text()
    rows = re.findall(r"^\| \[.*?\]\((.*?)\) \| (.*?) \|", page, re.MULTILINE)
    assert {path.split("/")[-1] for path, _ in rows} == {path.name for path in _ROOT.glob("tests/interop/read_*.py")}
    for path, cell in rows:
        # A long string may stand on two lines.
        program = (_ROOT / "docs" / path).read_text().replace('"\n    "', "")
        snippets = re.findall("`(.+?)`", cell)
        assert snippets, path
        assert [snippet for snippet in snippets if snippet not in program] == [], path
