"""The page as a person sees it: in a real browser, on a laptop and on a phone, by day and by night."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from converter.parsing import parse_splits
from schemas import layout

pytestmark = pytest.mark.slow

# Texts, and their contrast with what is behind them by WCAG: of HTML its colour, of SVG its fill.
_CONTRASTS = """() => {
  const parts = (css) => { const n = css.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const behind = (element) => {
    if (!element) return parts(getComputedStyle(document.body).backgroundColor);
    const own = parts(getComputedStyle(element).backgroundColor);
    return own[3] == 1 ? own : over(own, behind(element.parentElement));
  };
  const light = (c) => {
    const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = c.slice(0, 3).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].filter((n) => n.nodeType == 3).map((n) => n.data).join("").trim();
    if (!own) continue;
    const style = getComputedStyle(element);
    const below = behind(element);
    const ink = over(parts(element.tagName == "text" ? style.fill : style.color), below);
    const [a, b] = [light(ink), light(below)].sort((x, y) => y - x);
    found.push([own.slice(0, 40), (a + 0.05) / (b + 0.05)]);
  }
  return found;
}"""


@pytest.fixture(params=["few classes", "many classes and hostile names"])
def page_path(
    request: pytest.FixtureRequest,
    dataset: Path,
    convert: Callable[..., object],
    write_csv: Callable[..., Path],
    labels_of: Mapping[str, tuple[int, ...]],
    tmp_path: Path,
) -> Path:
    """Returns the path of a report."""
    if request.param == "few classes":
        return dataset / layout.REPORT
    names = [
        "<script>throw 1</script>",
        '"><img src=x onerror=alert(1)>',
        "W" * 300,
        "\u202eשלום",
        *map(str, range(40)),
    ]
    rows = [(name, *(int((i + j) % 5 == 0) for j in range(44))) for i, name in enumerate(labels_of)]
    missing = [(f"<b>{'long' * 50}{i}.jpg", *[0] * 44) for i in range(20)]
    path = write_csv(tmp_path / "labels.csv", [("file", *names), *rows, *missing])
    splits = parse_splits("train=0.6,validation=0.2,test=0.2")
    convert(csv=path, max_rejects=20, splits=splits, label_columns=tuple(names))
    return tmp_path / "out" / "scenes" / "1.0.0" / layout.REPORT


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_in_a_browser(browser: Any, page_path: Path, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    messages: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(page_path.as_uri())
    # All that is folded is looked at too.
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert messages == []
    assert [url for url in requests if not url.startswith("data:")] == [page_path.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    images = page.evaluate("[...document.images].map((image) => image.complete && image.naturalWidth)")
    assert len(images) >= 24
    assert all(images)
    charts = page.evaluate(
        "[...document.querySelectorAll('.chart svg')].map((svg) => svg.getBoundingClientRect().width)"
    )
    assert len(charts) == 5
    assert min(charts) > 280
    contrasts = page.evaluate(_CONTRASTS)
    assert len(contrasts) > 100
    assert [(text, ratio) for text, ratio in contrasts if ratio < 4.5] == []
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 19, 24)"
    assert dark == (scheme == "dark")
    context.close()
