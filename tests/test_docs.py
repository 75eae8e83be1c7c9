"""Lists in the docs agree with the code."""

import dataclasses
import re
import runpy
from collections.abc import Sequence
from pathlib import Path

import pytest

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


# A path of tests, and the words that pytest's -k selects by, joined by `or`.
_GUARANTEE_TEST = re.compile(r"`(tests/[\w/]+\.py)(?: -k (\w+|\"\w+(?: or \w+)*\"))?`")


def _guarantee_tests() -> list[tuple[str, list[str]]]:
    """Returns the tests that docs/guarantees.md names: a path, and the words that select from it."""
    found = _GUARANTEE_TEST.findall((_ROOT / "docs" / "guarantees.md").read_text())
    return [(path, words.strip('"').split(" or ")) for path, words in found]


def test_every_guarantee_names_a_test_that_exists() -> None:
    rows = re.findall(r"^\| (?!promise).* \|$", (_ROOT / "docs" / "guarantees.md").read_text(), re.MULTILINE)
    assert len(rows) > 30
    assert not [row for row in rows if not _GUARANTEE_TEST.search(row)]
    for path, words in _guarantee_tests():
        names = re.findall(r"^def (test_\w+)", (_ROOT / path).read_text(), re.MULTILINE)
        for word in words:
            assert any(word in name for name in names), f"{path} has no test of {word!r}"


def test_the_guarantees_write_every_test_as_scripts_test_takes_it() -> None:
    page = (_ROOT / "docs" / "guarantees.md").read_text()
    assert len(re.findall("`tests/", page)) == len(_guarantee_tests())


class _Collected:
    """A plugin that keeps the tests that pytest has collected."""

    items: Sequence[pytest.Item] = ()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = session.items


def test_pytest_selects_tests_for_every_guarantee(capfd: pytest.CaptureFixture[str]) -> None:
    paths = sorted({path for path, _ in _guarantee_tests()})
    # In this process, which has imported TensorFlow and Beam.
    collected = _Collected()
    options = [f"--rootdir={_ROOT}", "--collect-only", "-q", "-p", "no:cacheprovider", "-p", "no:faulthandler"]
    # Of settings of the plugin that is left out.
    options += ["-W", "ignore::pytest.PytestConfigWarning"]
    status = pytest.main([*options, *(str(_ROOT / path) for path in paths)], plugins=[collected])
    assert status == 0, capfd.readouterr().out
    names = [(item.path, item.name) for item in collected.items]
    for path, words in _guarantee_tests():
        of_path = [name for file, name in names if file == _ROOT / path]
        assert [word for word in words if not any(word in name for name in of_path)] == [], path


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
