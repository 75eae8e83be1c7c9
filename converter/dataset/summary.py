"""Describes a dataset in the text that is printed after a conversion."""

from collections.abc import Sequence
from fractions import Fraction

import pandas as pd

from converter.dataset import remarks
from converter.text import some
from schemas import layout
from schemas.metadata import DatasetInfo

_MAX_ROWS = 100


def summary(
    info: DatasetInfo,
    directory: str,
    *,
    splits: Sequence[tuple[str, Fraction]] = (),
    num_reused: int = 0,
    report_failure: str = "",
) -> str:
    """Returns the summary of a dataset: a table, and further lines for rejects, changed images and duplicates.

    Args:
        info: of the dataset.
        directory: of the dataset.
        splits: from --splits; a split without images has a line.
        num_reused: number of shards that the conversion reused.
        report_failure: traceback, if the report could not be built; otherwise "".
    """
    names = [split.name for split in info.splits]
    without = [
        f"{name} has none in {split.name}"
        for split in info.splits
        for name, count in zip(info.classes, split.statistics.positives, strict=True)
        if not count
    ]
    lines = [_table(info)]
    if without:
        lines.append(f"Classes without an image: {some(without)}")
    lines += [f"No image fell into the split {name}." for name, _ in splits if name not in names]
    if num_reused:
        lines.append(f"Shards kept, since nothing in them has changed: {num_reused}")
    if num_unknown := sum(info.statistics.unknown):
        share = num_unknown / (info.num_examples * len(info.classes))
        lines.append(f"Unknown labels: {num_unknown} ({share:.1%}): training leaves them out")
    rejected = sum(info.rejects.values())
    reasons = ", ".join(f"{count} {reason}" for reason, count in info.rejects.items())
    lines.append(f"Rejected: {rejected} rows" + (f" ({reasons}): {directory}/{layout.REJECTS}" if rejected else ""))
    anew = f"(encoded anew; JPEG quality {info.jpeg_quality}, or PNG)"
    if info.statistics.oriented:
        lines.append(f"EXIF orientation applied: {info.statistics.oriented} images {anew}")
    if info.statistics.resized:
        lines.append(f"Shorter side reduced to {info.resize_shorter}: {info.statistics.resized} images {anew}")
    if info.statistics.rescaled:
        lines.append(f"16 bits mapped to 8, from the lowest to the highest value: {info.statistics.rescaled} images")
    if info.statistics.transparent:
        lines.append(
            f"Images with transparency: {info.statistics.transparent}: they are shown on {info.background} "
            f"(--background={info.background}; encoded anew as PNG)"
        )
    if info.damaged:
        lines.append(f"Damaged JPEGs that were kept: {info.damaged} {anew}: {directory}/{layout.DAMAGED}")
    if info.leaks.get("num_groups"):
        lines.append(
            f"The same or nearly the same image in several splits: {info.leaks['num_images']} images in "
            f"{info.leaks['num_groups']} groups: {directory}/{layout.DUPLICATES} (--group_near_duplicates keeps them "
            "together)"
        )
    if info.unlisted:
        lines.append(f"Files in the folder that no row names: {info.unlisted}: {directory}/{layout.UNLISTED}")
    lines += [f"Note: {sentence}" for sentence in remarks.of_classes(info.classes)]
    if report_failure:
        lines.append(
            f"The report could not be made: {report_failure.strip().splitlines()[-1]} (all of it: {directory}/"
            f"{layout.CONVERSION}). The dataset is complete. To try again: python -m converter.report {directory}"
        )
    lines.append(f"Dataset: {directory}")
    return "\n".join(lines)


def _table(info: DatasetInfo) -> str:
    """Returns a table with a column for each split and rows for each class; the middle ones of many are left out."""
    unknown = [i for i, count in enumerate(info.statistics.unknown) if count]
    columns = {
        split.name: [
            f"{split.num_examples}",
            f"{split.statistics.num_bytes / 1e6:.1f}",
            f"{len(split.shards)}",
            "",
            *map(str, split.statistics.positives),
            *([""] if unknown else []),
            *(str(split.statistics.unknown[i]) for i in unknown),
        ]
        for split in info.splits
    }
    rows = ["images", "MB", "shards", "positives of", *(f"  {name}" for name in info.classes)]
    if unknown:
        rows += ["unknown labels of", *(f"  {info.classes[i]}" for i in unknown)]
    return pd.DataFrame(columns, index=rows).to_string(col_space=12, max_rows=_MAX_ROWS)
