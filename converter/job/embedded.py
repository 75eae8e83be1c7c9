"""Adds the steps that use copies that were found by features (duplicates/embedded.py): `--duplicates_by`.

  [Source] -> names with copies -> (group, name) -> GroupByKey -> Links
         `--> number of images that have a row, and a failure if none has one

The copies are found before the job, by the process that starts it: the job gets names and digests, a few bytes for each
row of the file.
"""

import pickle
from collections.abc import Callable, Iterable, Iterator

import apache_beam as beam
from apache_beam.pvalue import AsIter, AsSingleton

from converter.duplicates import neighbours
from converter.duplicates.components import Links
from converter.duplicates.embedded import Found
from converter.options import ConvertOptions
from converter.shards.batches import Batch
from converter.shards.matching import Source
from converter.table.row import Row
from multihot.errors import UserError

# The graph of a job is sent to its engine, and Dataflow takes 10 MB, in which bytes are written as text.
_MOST_BYTES = 6_000_000


def check_size(path: str, found: Found) -> None:
    """Refuses more copies than the graph of a job on other machines has room for.

    Raises:
        UserError: there are too many rows.
    """
    num_bytes = len(pickle.dumps(found))
    if num_bytes > _MOST_BYTES:
        raise UserError(
            f"--duplicates_by: {path} has {len(found.digests):,} rows. A job on other machines takes about "
            f"{_MOST_BYTES * len(found.digests) // num_bytes:,}. Convert on this machine, without --runner."
        )


class LinkCopies(beam.PTransform):
    """[Source] -> Links between the copies among them."""

    def __init__(self, found: AsSingleton, named_by: Callable[[Row], str]):
        """Stores the arguments.

        Args:
            found: the copies.
            named_by: from a row to the name that is linked.
        """
        super().__init__()
        self._found, self._named_by = found, named_by

    def expand(self, sources: beam.PCollection) -> beam.PCollection:
        """Returns the links."""
        return (
            sources
            | "WithCopies" >> beam.FlatMap(_with_copies, self._found, self._named_by)  # (group, name)
            | "GroupCopies" >> beam.GroupByKey()
            | "LinkCopies" >> beam.FlatMap(_links)
        )


def count(
    pipeline: beam.Pipeline,
    sources: beam.PCollection,
    found: AsSingleton,
    options: ConvertOptions,
    failed: beam.PCollection,
) -> tuple[beam.PCollection, beam.PCollection]:
    """Adds the steps that count the images that have a row.

    Args:
        pipeline: of the steps.
        sources: [Source].
        found: the copies.
        options: of the conversion.
        failed: the reasons why nothing will be published.

    Returns:
        The numbers of (images, images with a row), of each batch; and the reasons, with a further one if there are
        images and none has a row.
    """
    numbers = sources | "CountRowsOfFeatures" >> beam.Map(_count, found)
    unused = (
        pipeline
        | "FileOfFeatures" >> beam.Create([options.duplicates_by])
        | "NoRows" >> beam.FlatMap(_no_rows, found, AsIter(numbers), AsIter(failed))
    )
    return numbers, (failed, unused) | "FeaturesUnused" >> beam.Flatten()


def _with_copies(sources: Batch[Source], found: Found, named_by: Callable[[Row], str]) -> Iterator[tuple[str, str]]:
    for source in sources:
        if group := found.groups.get(source.row.filename):
            yield group, named_by(source.row)


def _links(group: tuple[str, Iterable[str]]) -> Iterator[Links]:
    first, *others = sorted(set(group[1]))
    if others:
        yield Links(neighbours.objects([first] * len(others)), neighbours.objects(others))


def _count(sources: Batch[Source], found: Found) -> tuple[int, int]:
    return len(sources), found.num_known([source.row.filename for source in sources])


def _no_rows(path: str, found: Found, numbers: Iterable[tuple[int, int]], failed: Iterable[str]) -> Iterator[str]:
    # Images that no step has looked at are not missing.
    totals = [sum(each) for each in zip(*numbers, strict=True)]
    if not any(failed) and totals and totals[0] and not totals[1]:
        yield (
            f"--duplicates_by: none of the {len(found.digests):,} rows of {path} is of an image of the table. Its "
            "names must be those of a dataset with the same names of files: convert once without this flag, and "
            "write the features of that dataset: python -m trainer.embed"
        )
