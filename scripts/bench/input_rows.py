"""Lists the rows of scripts/bench_input: one for each pipeline, and the ratios of rows."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import report
from report import Measurement

FIRST_32, FIRST_224, CACHED = "first epoch 32", "first epoch 224", "cached 32"
_TITLES = {
    FIRST_32: "First epoch, 32x32, nothing cached",
    FIRST_224: "First epoch, 224x224, a random part of each image, half of them mirrored",
    CACHED: "Cached epochs, 32x32",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A pipeline as it is measured.

    Attributes:
        table: in which it stands.
        name: in that table.
        reader: its program in readers/.
        environment: NAME of .venv-interop-NAME in which it runs; "" for the checkout's own.
        request: the fields of readers/serve.py's Request that differ from its defaults.
        optional: whether only --peers runs it.
    """

    table: str
    name: str
    reader: str
    environment: str = ""
    request: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    optional: bool = False

    @property
    def full_name(self) -> str:
        """Its name among the rows of all tables."""
        return f"{self.table}: {self.name}"


def _first_epochs(table: str, size: int, crop: bool, ours: Mapping[str, str]) -> list[Row]:
    """Returns the rows of a table of first epochs; `ours` are kinds of augmentation by the names of their rows."""
    same = {"size": size, "crop": crop}
    return [
        *(Row(table, name, "ours", "", {**same, "pipeline": kind}) for name, kind in ours.items()),
        Row(table, "limit", "limit", "limit", same),
        Row(table, "plain tf.data", "records", "", {**same, "pipeline": "plain"}),
        Row(table, "TFDS", "tfds_reader", "tfds", same),
        Row(table, "DALI", "dali_cpu", "dali", same, optional=True),
        Row(table, "WebDataset", "web_dataset", "pytorch", same, optional=True),
        Row(table, "Grain", "grain_workers", "grain", same, optional=True),
    ]


def _cached() -> list[Row]:
    """Returns the rows of cached epochs: four pipelines, each with one iterator in all and with one in each epoch."""
    four: dict[str, tuple[str, dict[str, Any]]] = {
        "ours": ("ours", {"pipeline": "none", "batch": 32}),
        "frozen batches": ("records", {"pipeline": "frozen", "batch": 32}),
        "ours (batch 4)": ("ours", {"pipeline": "none", "batch": 4}),
        "tutorial (batch 4)": ("tutorial", {"batch": 4}),
    }
    ways: dict[str, dict[str, bool]] = {
        "": {},
        ", whole epochs": {"whole_epochs": True},
    }
    return [
        Row(CACHED, name + way, reader, "", {**request, **flags, "cached": True})
        for way, flags in ways.items()
        for name, (reader, request) in four.items()
    ]


ROWS = (
    *_first_epochs(FIRST_32, 32, False, {"ours": "none", "ours, exact": "none exact"}),
    Row(FIRST_32, "tutorial (batch 4)", "tutorial", "", {"batch": 4, "epochs": 1}),
    *_cached(),
    *_first_epochs(FIRST_224, 224, True, {"ours": "crop", "ours, exact": "crop exact"}),
)

# Other libraries' pipelines. What tf.data does by default, and TFDS, which is tf.data, have ratios of their own.
_PEERS = ("DALI", "WebDataset", "Grain")
# Columns of ratios in each table.
_REFERENCES = {
    FIRST_32: ("limit", "tutorial (batch 4)"),
    FIRST_224: ("limit",),
    CACHED: ("frozen batches", "tutorial (batch 4)"),
}
_RATIOS = {
    "first_epoch_32_over_limit": (FIRST_32, "ours", "limit"),
    "first_epoch_32_over_tutorial": (FIRST_32, "ours", "tutorial (batch 4)"),
    "first_epoch_224_over_limit": (FIRST_224, "ours", "limit"),
    "first_epoch_32_over_plain": (FIRST_32, "ours", "plain tf.data"),
    "first_epoch_224_over_plain": (FIRST_224, "ours", "plain tf.data"),
    "first_epoch_32_over_tfds": (FIRST_32, "ours", "TFDS"),
    "first_epoch_224_over_tfds": (FIRST_224, "ours", "TFDS"),
    "cached_over_tutorial_batch_4": (CACHED, "ours", "tutorial (batch 4)"),
    "cached_over_tutorial_batch_4_whole_epochs": (CACHED, "ours, whole epochs", "tutorial (batch 4), whole epochs"),
    "cached_batch_4_over_tutorial_batch_4": (CACHED, "ours (batch 4)", "tutorial (batch 4)"),
    "cached_over_frozen_batches_32": (CACHED, "ours", "frozen batches"),
    "cached_over_frozen_batches_32_whole_epochs": (CACHED, "ours, whole epochs", "frozen batches, whole epochs"),
}
_BEST_PEER_RATIOS = {"first_epoch_32_over_best_peer": FIRST_32, "first_epoch_224_over_best_peer": FIRST_224}

Measured = Mapping[str, Measurement]  # By the full name of the row.


def best_peers(measured: Measured) -> dict[str, Measurement]:
    """Returns the fastest peer that ran, by the name of the ratio in which ours is compared with it."""
    found = {}
    for ratio, table in _BEST_PEER_RATIOS.items():
        peers = [measured[f"{table}: {peer}"] for peer in _PEERS if f"{table}: {peer}" in measured]
        if peers:
            found[ratio] = max(peers, key=lambda peer: peer.median)
    return found


def ratios(measured: Measured) -> dict[str, float]:
    """Returns the ratios of those that were measured, each the median of the rounds."""
    pairs = {name: (f"{table}: {ours}", f"{table}: {other}") for name, (table, ours, other) in _RATIOS.items()}
    for name, peer in best_peers(measured).items():
        pairs[name] = (f"{_BEST_PEER_RATIOS[name]}: ours", peer.name)
    return {
        name: report.ratio(measured[ours], measured[other])
        for name, (ours, other) in pairs.items()
        if ours in measured and other in measured
    }


def tables(measured: Measured, rows: Sequence[Row]) -> dict[str, tuple[str, list[Measurement], list[str]]]:
    """Returns, by name, the title of each table, its measurements with short names, and its columns of ratios."""
    found = {}
    for table, title in _TITLES.items():
        names = {row.name: row.full_name for row in rows if row.table == table and row.full_name in measured}
        short = [dataclasses.replace(measured[full], name=name) for name, full in names.items()]
        if short:
            found[table] = (title, short, [name for name in _REFERENCES[table] if name in names])
    return found
