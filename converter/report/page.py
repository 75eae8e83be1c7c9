r"""Builds the page that shows what a dataset contains: `python -m converter.report DIR`.

manifest, rejects.csv, ... --\
sample of the examples ------->  Report  -->  templates/report.html.jinja  -->  report.html
images by their names -------/

The page depends on the dataset only, and has no times, paths or lines of a CSV: the same dataset gives the same bytes.
"""

import dataclasses
import functools
import itertools
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import field

import numpy as np

from converter.dataset.lists import first_of_each, read_csv
from converter.limits import DEFAULT, LimitOptions, Limits
from converter.rejects import Reject
from converter.report import charts, pictures, sheets
from converter.report.pictures import Place, SampledExample
from converter.report.sheets import Sheet
from multihot import command, flags, pages, storage
from multihot.charts import NUM_COLOURS
from multihot.settings import setting
from multihot.usage import Usage
from schemas import layout, metadata
from schemas.duplicates import DUPLICATES_COLUMNS
from schemas.metadata import DatasetInfo

# If there are more classes than these two numbers together, charts and sheets show this many of the most frequent
# classes, and this many of the rarest.
MOST_FREQUENT, RAREST = 20, 10
# Largest number of rows in a table, which is collapsed at first; a row has some 100 bytes.
MAX_ROWS = 1000
# Number of rejects shown for each reason, and of names of files that no row names.
_EXAMPLES, _NAMES = 5, 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """The content of the page.

    Attributes:
        info: of the dataset.
        num_seen: number of examples in the sample; the number of all examples, if all were read.
        shown: indices of the classes in charts and sheets.
        charts: SVG elements by name.
        classes: a sheet for each class that is shown.
        combinations: a sheet for each of the rarest combinations of labels in the sample.
        duplicates: a sheet for each of the first groups of duplicates: groups in several splits come first.
        num_groups: number of all groups of duplicates.
        thumbnails: small pictures for the sheets, as data URIs; "" for an image that Pillow does not read.
        rejects: some rejects by reason: file names with details.
        unlisted: names of the first files that no row names.
    """

    info: DatasetInfo
    num_seen: int
    shown: tuple[int, ...]
    charts: Mapping[str, str] = dataclasses.field(repr=False)
    classes: Sequence[Sheet]
    combinations: Sequence[Sheet]
    duplicates: Sequence[Sheet]
    num_groups: int
    thumbnails: Mapping[Place, str] = dataclasses.field(repr=False)
    rejects: Mapping[str, Sequence[tuple[str, str]]]
    unlisted: tuple[str, ...]


def make(directory: str, info: DatasetInfo, limits: Limits = DEFAULT) -> str:
    """Returns the page.

    Raises:
        UserError: the dataset is damaged.
        OSError: the dataset cannot be read.
    """
    return render(collect(directory, info, limits))


def attempt(directory: str, info: DatasetInfo, limits: Limits) -> tuple[str, str]:
    """Returns the page and ""; or, if it cannot be built, a page that says so and the traceback.

    A conversion does not fail if only its report does.
    """
    try:
        return make(directory, info, limits), ""
    except Exception as error:  # A defect of ours, or a store that did not answer.
        failure = "".join(traceback.format_exception(error))
        sentence = f"{type(error).__name__}: {error}"
        return pages.environment("converter.report").get_template("failure.html.jinja").render(
            info=info, sentence=sentence
        ), failure


def collect(directory: str, info: DatasetInfo, limits: Limits = DEFAULT) -> Report:
    """Reads the content of the page. It reads at most the limits of pictures.py, for a dataset of any size."""
    seen = pictures.sample(directory, info, limits)
    shown = _shown(info.statistics.positives)
    classes, combinations = sheets.of_classes(info, seen, shown), sheets.of_rarest(info, seen)
    duplicates, num_groups = sheets.of_duplicates(
        directory, info, read_csv(directory, layout.DUPLICATES, DUPLICATES_COLUMNS), limits
    )
    unlisted = read_csv(directory, layout.UNLISTED, ["filename"])
    on_sheets = [picture.place for sheet in (*classes, *combinations, *duplicates) for picture in sheet.pictures]
    return Report(
        info=info,
        num_seen=len(seen),
        shown=shown,
        charts=_charts(info, seen, shown),
        classes=classes,
        combinations=combinations,
        duplicates=duplicates,
        num_groups=num_groups,
        thumbnails=pictures.thumbnails(directory, filter(None, on_sheets), info, limits),
        rejects=first_of_each(read_csv(directory, layout.REJECTS, Reject._fields), _EXAMPLES),
        unlisted=tuple(row["filename"] for row in itertools.islice(unlisted, _NAMES)),
    )


def render(report: Report) -> str:
    """Returns the page. All strings from the dataset are escaped, so that none of them is markup."""
    template = pages.environment("converter.report").get_template("report.html.jinja")
    return template.render(report=report, info=report.info, num_colours=NUM_COLOURS, max_rows=MAX_ROWS)


def _shown(positives: Sequence[int]) -> tuple[int, ...]:
    """Returns the indices of the classes to show: all of them, or else the most frequent and the rarest."""
    if len(positives) <= MOST_FREQUENT + RAREST:
        return tuple(range(len(positives)))
    ranked = sorted(range(len(positives)), key=lambda i: (-positives[i], i))
    return (*ranked[:MOST_FREQUENT], *ranked[-RAREST:])


def _charts(info: DatasetInfo, seen: Sequence[SampledExample], shown: Sequence[int]) -> dict[str, str]:
    names = [info.classes[i] for i in shown]
    counts = [[split.statistics.positives[i] for split in info.splits] for i in shown]
    widths, heights = [one.width for one in seen], [one.height for one in seen]
    return {
        "positives": charts.positives(names, counts, info.num_examples),
        "cooccurrence": charts.cooccurrence(names, _shares(seen, shown)),
        "cardinality": charts.cardinality([len(one.labels) for one in seen]),
        "sizes": charts.sizes(widths, heights),
        "aspect_ratios": charts.aspect_ratios(widths, heights),
    }


def _shares(seen: Sequence[SampledExample], shown: Sequence[int]) -> np.ndarray:
    """Returns the share of the examples with one class that also have another: float64 [len(shown), len(shown)]."""
    columns = {label: i for i, label in enumerate(shown)}
    has = np.zeros((len(seen), len(shown)))
    for row, one in zip(has, seen, strict=True):
        row[[columns[label] for label in one.labels if label in columns]] = 1
    both = has.T @ has
    return both / np.maximum(1, np.diag(both))[:, None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportOptions(LimitOptions):
    """The settings of a report."""

    directory: str = field(metadata=setting("Folder of the dataset: ROOT/NAME/VERSION.", value="DIR", positional=True))
    output: str = field(default="", metadata=setting(f"File of the page. Default: DIR/{layout.REPORT}.", value="FILE"))


USAGE = Usage(
    module="converter.report",
    description="Writes the page that shows what a dataset contains.",
    example="data/miml/1.0.0",
    settings=(ReportOptions,),
)


def main(options: ReportOptions) -> None:
    """Writes the page, over a page that exists, and prints its path."""
    directory = options.directory.rstrip("/")
    output = options.output or f"{directory}/{layout.REPORT}"
    for path in (directory, output):
        storage.check(path)
    storage.write(output, make(directory, metadata.load(directory), options.limits))
    print(f"Report: {output}")


def run() -> None:
    """Entry point."""
    command.run(main, parse=functools.partial(flags.parse, USAGE))
