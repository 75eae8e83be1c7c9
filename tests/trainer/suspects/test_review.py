"""The page of a review in a real browser: decided by keys, undone, kept over a reload, and saved as corrections."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from schemas import corrections
from trainer.sources import Sources
from trainer.suspects import examples, files, page
from trainer.suspects.examples import Examples
from trainer.suspects.finding import DUPLICATE, LABEL, SWAP, Change, Suspect

pytestmark = pytest.mark.slow

_HOSTILE = "</script><b>=1+1"


class Made(NamedTuple):
    """A page, and the suspects on it."""

    path: Path
    suspects: list[Suspect]
    examples: Examples

    def rows(self, *numbers: int) -> str:
        """Returns the text of corrections.csv with these suspects."""
        rows = [row for i in numbers for row in files.correction_rows(self.suspects[i], self.examples)]
        return "".join([files.correction_header(), *rows])


@pytest.fixture(scope="module")
def made(sources: Sources, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Returns a page of four suspects. One has a hostile name of a class, one two labels that change together."""
    listed = examples.collect(sources)
    names = (_HOSTILE, "naïve, “quoted” 海", *listed.classes[2:])
    listed = listed._replace(classes=names)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (len(listed.filenames), 4)).astype(np.uint8)
    suspects = [
        Suspect(3, (Change(0, 1, 0),), 0.99, LABEL),
        Suspect(5, (Change(1, 1, 0), Change(2, 0, 1)), 0.97, SWAP),
        Suspect(50, (Change(1, 0, 1),), 0.9, DUPLICATE, (51,)),
        Suspect(8, (Change(3, 0, 1),), 0.8, LABEL),
    ]
    html = page.build(suspects, sources, listed, labels, rng.random((len(labels), 16)))
    path = tmp_path_factory.mktemp("review") / "review.html"
    path.write_text(html, encoding="utf-8")
    return Made(path, suspects, listed)


@pytest.fixture
def opened(browser: Any, made: Made) -> Iterator[Callable[..., Any]]:
    """Returns the function that opens the page, in a window of its own, and checks at the end that it had no error."""
    contexts, messages = [], list[str]()

    def open_page(**settings: Any) -> Any:
        contexts.append(browser.new_context(accept_downloads=True, **settings))
        opened = contexts[-1].new_page()
        opened.on("console", lambda message: messages.append(message.text))
        opened.on("pageerror", lambda error: messages.append(str(error)))
        opened.goto(made.path.as_uri())
        return opened

    yield open_page
    for context in contexts:
        context.close()
    assert messages == []


def _press(page: Any, keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def _status(page: Any) -> str:
    text: str = page.locator("#status").inner_text()
    return text


def _saved(page: Any, key: str = "c") -> str:
    with page.expect_download() as download:
        page.keyboard.press(key)
    assert download.value.suggested_filename == "corrections.csv"
    return Path(download.value.path()).read_bytes().decode()


def test_accepted_suspects_alone_are_saved(opened: Callable[..., Any], made: Made) -> None:
    page = opened()
    _press(page, "akas")
    assert "2 accepted, 1 kept, 1 skipped, 0 to be decided." in _status(page)
    assert _status(page).endswith("All have been looked at: save corrections.csv.")
    assert _saved(page) == made.rows(0, 2)
    assert "corrections.csv has 2 corrected labels." in _status(page)
    assert _status(page).endswith("All have been looked at.")


def test_the_saved_file_is_a_csv_of_corrections(opened: Callable[..., Any], made: Made) -> None:
    page = opened()
    _press(page, "aaaa")
    header, *rows = csv.reader(_saved(page).splitlines())
    assert tuple(header) == (*corrections.COLUMNS, *corrections.PLACE)
    assert [row[1:4] for row in rows] == [
        [_HOSTILE, "1", "0"],
        [made.examples.classes[1], "1", "0"],
        [made.examples.classes[2], "0", "1"],
        [made.examples.classes[1], "0", "1"],
        [made.examples.classes[3], "0", "1"],
    ]
    assert [row[0] for row in rows] == [made.examples.filenames[i] for i in (3, 5, 5, 50, 8)]
    assert all(row[4].endswith("labels.csv") and int(row[5]) > 1 for row in rows)


def test_decisions_are_undone_one_after_the_other(opened: Callable[..., Any], made: Made) -> None:
    page = opened()
    _press(page, "aau")
    assert "Undone. Image 2 of 4. 1 accepted, 0 kept, 0 skipped, 3 to be decided." in _status(page)
    _press(page, "kuu")
    assert "Image 1 of 4. 0 accepted" in _status(page)
    assert page.locator("#undo").is_disabled()
    _press(page, "u")
    assert _saved(page) == made.rows()


def test_decisions_outlive_a_reload(opened: Callable[..., Any], made: Made) -> None:
    page = opened()
    _press(page, "ak")
    page.reload()
    assert "Image 3 of 4. 1 accepted, 1 kept" in _status(page)
    _press(page, "u")
    page.reload()
    assert "Image 2 of 4. 1 accepted, 0 kept" in _status(page)
    assert _saved(page) == made.rows(0)


def test_arrows_decide_nothing_and_a_decision_can_be_changed(opened: Callable[..., Any], made: Made) -> None:
    page = opened()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert "Image 2 of 4. 0 accepted, 0 kept, 0 skipped, 4 to be decided." in _status(page)
    _press(page, "s")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#skip").get_attribute("aria-pressed") == "true"
    _press(page, "a")
    assert _saved(page) == made.rows(1)


def test_shortcuts_of_the_browser_are_left_alone(opened: Callable[..., Any]) -> None:
    page = opened()
    page.keyboard.press("Control+a")
    page.keyboard.press("Alt+s")
    assert "4 to be decided" in _status(page)


def test_the_page_is_used_by_tab_and_enter_alone(opened: Callable[..., Any], made: Made) -> None:
    page = opened()
    for _ in range(2):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "accept"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.press("Enter")
    assert "1 accepted" in _status(page)
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.id") == "save"
    assert _saved(page, "Enter") == made.rows(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits(opened: Callable[..., Any], width: int, scheme: str) -> None:
    page = opened(viewport={"width": width, "height": 800}, color_scheme=scheme)
    for _ in range(4):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        images = page.evaluate("[...document.images].map((image) => image.complete && image.naturalWidth)")
        assert len(images) > 1
        assert all(images)
        above, below = (page.locator(name).bounding_box() for name in ("#save", "#status"))
        assert above["y"] + above["height"] <= below["y"] - 4
        # Picture, question and keys are seen without scrolling.
        for name in ("#picture", "#accept", "#keep", "#skip", "#undo"):
            box = page.locator(name).bounding_box()
            assert box["y"] >= 0
            assert box["y"] + box["height"] <= 800, name
        page.keyboard.press("ArrowRight")
    assert page.locator("#status").get_attribute("aria-live") == "polite"


def test_names_are_text(opened: Callable[..., Any]) -> None:
    page = opened()
    assert _HOSTILE in page.locator("#question").inner_text()


def test_without_suspects_the_page_says_so(
    browser: Any, made: Made, sources: Sources, tmp_path: Path, opened: Callable[..., Any]
) -> None:
    html = page.build([], sources, made.examples, np.zeros((79, 4), np.uint8), np.zeros((79, 2)))
    (tmp_path / "empty.html").write_text(html, encoding="utf-8")
    shown = opened()
    shown.goto((tmp_path / "empty.html").as_uri())
    assert "There are no suspects." in _status(shown)
