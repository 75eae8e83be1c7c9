"""What a person reads when a conversion is done."""

from collections.abc import Sequence
from fractions import Fraction

from schemas import layout
from schemas.metadata import DatasetInfo


def summary(
    info: DatasetInfo, directory: str, *, splits: Sequence[tuple[str, Fraction]] = (), num_reused: int = 0
) -> str:
    """Returns the summary of a dataset, a table of some lines.

    Args:
        info: of the dataset.
        directory: where it is.
        splits: that were asked for: one that got no image is named.
        num_reused: shards that were there already.
    """
    names = [split.name for split in info.splits]
    wide = max(len("positives of"), *(2 + len(name) for name in info.classes))
    row = f"{{:<{wide}}}" + "".join(f"  {{:>{max(12, len(name))}}}" for name in names)
    lines = [
        row.format("", *names),
        row.format("images", *(split.num_examples for split in info.splits)),
        row.format("MB", *(f"{split.statistics.num_bytes / 1e6:.1f}" for split in info.splits)),
        row.format("shards", *(len(split.shards) for split in info.splits)),
        "positives of",
    ]
    for i, name in enumerate(info.classes):
        lines.append(row.format(f"  {name}", *(split.statistics.positives[i] for split in info.splits)))
    without = [
        f"{name} has none in {split.name}"
        for split in info.splits
        for name, count in zip(info.classes, split.statistics.positives, strict=True)
        if not count
    ]
    if without:
        lines.append(f"Classes without an image: {'; '.join(without)}")
    lines += [f"No image fell into the split {name}." for name, _ in splits if name not in names]
    if num_reused:
        lines.append(f"Shards kept, since nothing in them has changed: {num_reused}")
    rejected = sum(info.rejects.values())
    reasons = ", ".join(f"{count} {reason}" for reason, count in info.rejects.items())
    lines.append(f"Rejected: {rejected} rows" + (f" ({reasons}): {directory}/{layout.REJECTS}" if rejected else ""))
    anew = f"(encoded anew; JPEG quality {info.jpeg_quality}, or PNG)"
    if info.statistics.oriented:
        lines.append(f"EXIF orientation applied: {info.statistics.oriented} images {anew}")
    if info.statistics.resized:
        lines.append(f"Shorter side reduced to {info.resize_shorter}: {info.statistics.resized} images {anew}")
    if info.unlisted:
        lines.append(f"Files in the folder that no row names: {info.unlisted}: {directory}/{layout.UNLISTED}")
    lines.append(f"Dataset: {directory}")
    return "\n".join(lines)
