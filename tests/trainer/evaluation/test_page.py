"""The page of an evaluation: names are text, and people can read it on a laptop and on a phone, by day and by night."""

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from schemas.metadata import DatasetInfo
from trainer.config import TrainConfig
from trainer.evaluation import contents, page, slices, summary
from trainer.evaluation.predicting import Subject
from trainer.finished_run import FinishedRun
from trainer.input.listing import Listing
from trainer.metrics import Predictions
from trainer.model_file import ModelInfo
from trainer.sources import Source, Sources

HOSTILE = ("<script>throw 1</script>", '"><img src=x onerror=alert(1)>', "W" * 300, "\u202eשלום", "日本語の名前, $x$")


def _evaluation(classes: Sequence[str], *, n: int = 60) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    k = len(classes)
    labels = rng.random((n, k)) < 0.3
    labels[:, -1] = False
    scores = np.clip(rng.normal(0.35 + 0.3 * labels, 0.2), 0, 1).astype(np.float32)
    predictions = Predictions(labels=labels, scores=scores, known=rng.random((n, k)) < 0.95)
    info = ModelInfo(
        classes=tuple(classes),
        image_size=32,
        resize="stretch",
        decode="scaled",
        softmax=False,
        flip=False,
        thresholds=(0.5,) * k,
        fingerprints=(),
    )
    config = TrainConfig(data=("drawn",), output="none", validation_split="validation")
    data = DatasetInfo(name="drawn", version="1.0.0", classes=tuple(classes), splits=())
    sources = Sources(classes=tuple(classes), each=(Source(directory="drawn", info=data, labels=tuple(range(k))),))
    run = FinishedRun(Path("runs/<b>first"), config, info)
    subject = Subject(run, config, sources, tuple(range(k)), ("<i>only</i>",), ())
    names = [f"<u>{i}</u>{'long' * 40}.jpg" for i in range(n)]
    listing = Listing(names, np.stack([np.arange(n) + 100] * 2, axis=1), np.zeros(n, np.int32))
    found = contents.evaluate(subject, predictions, listing, {"image_size": slices._by_size(listing.sizes)})
    worse = Predictions(labels=labels, scores=1 - scores, known=predictions.known)
    found["comparison"] = contents.compare(subject, subject, predictions, worse)
    return found


def _pictures(number: int) -> list[tuple[str, str]]:
    content = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 80, 40)).save(content, "JPEG")
    uri = f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
    return [(uri, uri if i % 2 else "") for i in range(number)]


def _render(found: dict[str, Any]) -> str:
    return page.render(found, _pictures(len(found["worst"])), exact_maps=True)


def test_names_are_text_and_never_markup() -> None:
    found = _evaluation(HOSTILE)
    html = _render(found)
    for markup in ("<script", "<img src=x", "<u>", "<b>first", "<i>only"):
        assert markup not in html
    assert "&lt;script&gt;throw 1&lt;/script&gt;" in html
    assert "http" not in html.replace("http-equiv", "")
    assert json.loads(json.dumps(found, allow_nan=False))
    for line in summary.lines(found):
        assert "\u202e" not in line


@pytest.mark.slow
def test_of_many_classes_the_charts_are_bounded_and_the_table_is_not() -> None:
    found = _evaluation([f"class {i:03d}" for i in range(60)])
    html = _render(found)
    assert html.count("<svg") == 2 + 2 * 30
    assert html.count('<th scope="row"><bdi>class 0') >= 2 * 60
    assert "Of 60 classes, the charts show the most frequent and the rarest; the table has all." in html


def test_undefined_is_said_and_is_null_in_the_figures() -> None:
    found = _evaluation(["desert", "nowhere"])
    nothing = found["classes"]["nowhere"]
    assert nothing["positive"] == 0
    assert nothing["average_precision"] == {"value": None, "low": None, "high": None}
    assert "undefined" in _render(found)
    assert any("No image has nowhere" in line for line in summary.lines(found))


@pytest.mark.slow
@pytest.mark.parametrize("classes", [("desert", "sea", "trees"), (*HOSTILE, *map(str, range(36)))], ids=["few", "many"])
def test_the_page_in_a_browser(browser: Any, classes: Sequence[str], tmp_path: Path) -> None:
    path = tmp_path / "evaluation.html"
    path.write_text(_render(_evaluation(classes)), encoding="utf-8")
    for width, scheme in ((1280, "light"), (390, "dark")):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        shown = context.new_page()
        messages: list[str] = []
        requests: list[str] = []
        shown.on("console", lambda message, messages=messages: messages.append(message.text))
        shown.on("pageerror", lambda error, messages=messages: messages.append(str(error)))
        shown.on("request", lambda request, requests=requests: requests.append(request.url))
        shown.goto(path.as_uri())
        shown.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert messages == []
        assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        images = shown.evaluate("[...document.images].map((image) => image.complete && image.naturalWidth)")
        assert len(images) == 24 + 12
        assert all(images)
        charts = shown.evaluate(
            "[...document.querySelectorAll('.chart svg')].map((svg) => svg.getBoundingClientRect().width)"
        )
        assert len(charts) == 2 + 2 * min(30, len(classes))
        assert min(charts) > 280
        dark = shown.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 19, 24)"
        assert dark == (scheme == "dark")
        context.close()
