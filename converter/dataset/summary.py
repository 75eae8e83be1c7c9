"""Describes a dataset in the text that is printed after a conversion."""

from collections.abc import Sequence
from fractions import Fraction

import pandas as pd

from converter.dataset import remarks
from converter.splits import augmented
from converter.text import some
from schemas import layout
from schemas.metadata import DatasetInfo

_MAX_ROWS = 100
# The splits that the trainer takes by default, and how people begin other names for them.
_USUAL = {"train": ("tr", "fit"), "validation": ("val", "dev", "eval", "test", "hold")}


def summary(
    info: DatasetInfo,
    directory: str,
    *,
    splits: Sequence[tuple[str, Fraction]] = (),
    split_method: str = "hash",
    num_reused: int = 0,
    report_failure: str = "",
) -> str:
    """Returns the summary of a dataset: a table, and further lines for rejects, changed images and duplicates.

    Args:
        info: of the dataset.
        directory: of the dataset.
        splits: from --splits; a split without images has a line.
        split_method: from --split_method.
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
    empty = [(name, fraction) for name, fraction in splits if name not in names]
    lines += [
        f"No image fell into the split {name}: {_for_more(info, name, splits, split_method)}"
        for name, fraction in empty
    ]
    lines += [_how_to_train(info)] if not empty else []
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
    if info.augmented:
        lines.append(
            f"Images of which several splits have augmented versions, such as NAME.rf.HASH.jpg: {info.augmented} "
            f"({augmented.group_flag()} keeps them together)"
        )
    if info.merged_rows:
        lines.append(f"Rows whose labels were merged with those of an earlier row of the same file: {info.merged_rows}")
    if info.corrected:
        lines.append(f"Labels corrected: {info.corrected} (--corrections)")
    if info.featured:
        unused = f"; rows of the file that name no image: {info.unused_features}" if info.unused_features else ""
        lines.append(
            f"Images compared by features too: {info.featured} of {info.num_examples} (--duplicates_by{unused})"
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
    return "\n".join(filter(None, lines))


def _for_more(info: DatasetInfo, name: str, splits: Sequence[tuple[str, Fraction]], split_method: str) -> str:
    """Returns what gives an image to a split without one."""
    if info.num_examples < len(splits):
        return "the dataset needs more images."
    # Iterative stratification leaves no split empty whose share is an image or more.
    larger = f" --splits={','.join(f'{each}=1/{len(splits)}' for each, _ in splits)}"
    flags = "--split_method=stratified" + larger * (dict(splits)[name] * info.num_examples < 1)
    return f"{flags if split_method == 'hash' else larger.strip()} gives it one, and so do more images."


def _how_to_train(info: DatasetInfo) -> str:
    """Returns how to train on a dataset without the splits that the trainer takes by default; "" if it has them."""
    names = [split.name for split in info.splits]
    if len(names) == 1:
        return (
            f"All images are in the split {names[0]}: to train, give the trainer a second dataset with the other "
            "split, by a second --data."
        )
    found: dict[str, str] = {}
    for usual, starts in _USUAL.items():
        ranks = {name: [name.lower().startswith(start) for start in (*starts, "")].index(True) for name in names}
        others = [name for name in names if name not in found.values()]
        found[usual] = usual if usual in names else min(others, key=lambda name: ranks[name])
    flags = [f"--{usual}_split={name}" for usual, name in found.items() if name != usual]
    return f"To train on it: python -m trainer {' '.join(flags)} ..." if flags else ""


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
