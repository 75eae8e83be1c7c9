"""`python -m trainer.suspects --run=RUN`: finds labels that may be wrong, and makes the page for their review."""

import dataclasses
import functools
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from multihot import command, flags, native_stderr, storage
from multihot.errors import UserError
from multihot.quiet import quiet
from multihot.settings import setting
from multihot.usage import Usage

if TYPE_CHECKING:
    from trainer.suspects.finding import Suspect

_PAGE = "review.html"
# Classes whose numbers are printed, those with most suspects.
_MOST_CLASSES = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class SuspectsOptions:
    """The settings of a search for suspects."""

    run: str = field(metadata=setting("Folder of a finished run.", value="RUN"))
    data: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            "Folder of a dataset with the classes of the model. Repeat it for several. Default: those of the run.",
            value="DATASET",
            repeated=True,
        ),
    )
    review: int = field(default=500, metadata=setting("Suspects on the page, the most probable ones."))
    output: str = field(
        default="",
        metadata=setting("Folder for suspects.csv and review.html. Default: RUN/suspects.", value="FOLDER"),
    )

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            UserError: a setting cannot be used.
        """
        if self.review < 0:
            raise UserError(f"--review must be at least 0. Received: {self.review}")
        if not storage.is_local(self.output):
            raise UserError(f"--output must be a folder of this machine. Received: {self.output!r}")
        if os.path.isfile(self.folder):
            raise UserError(f"--output: {self.folder} is a file. Name a folder.")

    @property
    def folder(self) -> Path:
        """The folder of the results."""
        return Path(self.output or os.path.join(self.run, "suspects"))


USAGE = Usage(
    module="trainer.suspects",
    description="Finds labels that may be wrong, by the model of a run, and makes a page on which people look at them.",
    example="--run=runs/first",
    settings=(SuspectsOptions,),
)


def main(options: SuspectsOptions) -> None:
    """Finds suspects, and prints their numbers and where everything lies."""
    with quiet():
        import tensorflow as tf

        tf.config.list_physical_devices()
        from trainer import finished_run, run_folder, sources
        from trainer.suspects import examples, features, files, finding, page, scores
    native_stderr.filter_libjpeg()
    run = finished_run.find(options.run)
    data = run.sources(options.data)
    splits = {split.name for source in data.each for split in source.info.splits}
    with sources.damaged_shards_named(data, splits):
        listed = examples.collect(data)
        features.check_memory(run, listed)
        found, widths = features.compute(run, features.network(run, data), data, options.data, listed.splits)
        probabilities = scores.probabilities(
            found.features, found.labels, widths=widths, groups=listed.groups, softmax=run.info.softmax
        )
        suspects = finding.find(found.labels, probabilities, listed.groups, softmax=run.info.softmax)
        # Neighbours are those by the last layer.
        html = page.build(suspects[: options.review], data, listed, found.labels, found.features[:, : widths[0]])
    options.folder.mkdir(parents=True, exist_ok=True)
    run_folder.write_text(options.folder / files.SUSPECTS, files.suspects_csv(suspects, listed))
    run_folder.write_text(options.folder / _PAGE, html)
    print(_summary(suspects, listed.classes, len(listed.filenames)))
    if len(data.each) > 1:
        # Names of files may be the same in several datasets, and a correction has no other name of its image.
        print(
            f"These are suspects of {len(data.each)} datasets, and corrections are for one table. Before you review "
            "them, search each dataset alone: --data=DATASET --output=FOLDER"
        )
    print(f"\n{options.folder / files.SUSPECTS}\n{options.folder / _PAGE}: open it in a browser")


def _summary(suspects: Sequence["Suspect"], classes: Sequence[str], num_examples: int) -> str:
    """Returns lines with the numbers of suspects of each kind and class."""
    kinds = Counter(suspect.kind for suspect in suspects)
    labels = Counter((change.label, change.given) for suspect in suspects for change in suspect.changes)
    lines = [f"{len(suspects)} suspects among {num_examples} images: " + _counted(kinds)]
    ordered = sorted({label for label, _ in labels}, key=lambda label: -labels[label, 0] - labels[label, 1])
    for label in ordered[:_MOST_CLASSES]:
        lines.append(f"  {classes[label]}: {labels[label, 0]} may be missing, {labels[label, 1]} may be too many")
    if len(ordered) > _MOST_CLASSES:
        lines.append(f"  {len(ordered) - _MOST_CLASSES} more classes")
    return "\n".join(lines)


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in kinds.most_common()) or "none"


def run() -> None:
    """Entry point."""
    command.run(main, parse=functools.partial(flags.parse, USAGE))
