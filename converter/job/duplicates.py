"""Adds the steps that find images that are the same or nearly the same.

  [Fingerprint] -> join by band -> links -> groups of candidates --.
        |                                                           v
        `--------------------------------> candidates -> join by group -> compare -> links -> groups of copies
  [Source] -> read again: drawings -> pictures -----------^                            links by features --^

The algorithms are in converter/duplicates/.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsSingleton, TaggedOutput
from apache_beam.transforms.window import GlobalWindows

from converter.duplicates import lookalikes, neighbours
from converter.duplicates.components import Groups, Links
from converter.duplicates.fingerprints import Fingerprint
from converter.duplicates.lookalikes import Candidates, Picture
from converter.duplicates.neighbours import FingerprintColumns
from converter.job import parallel
from converter.job.embedded import LinkCopies
from converter.job.parallel import InProcesses
from converter.options import ConvertOptions
from converter.shards import reading
from converter.shards.batches import Batch
from converter.shards.matching import Source
from converter.system import processes
from converter.table.row import Row

_TO_READ = "to_read"

# Number of tasks that compare candidates, for each part of a band: the number of bands.
_TASKS = neighbours.MAX_DISTANCE + 1
# Images, or a few more, that a task reads again.
_READ_TOGETHER = 64


class FindGroups(beam.PTransform):
    """[Fingerprint] -> one dictionary, from each name that has duplicates to the first name of its group."""

    def __init__(
        self,
        sources: beam.PCollection,
        options: ConvertOptions,
        num_parts: int,
        named_by: Callable[[Row], str],
        by_features: AsSingleton | None = None,
    ):
        """Stores the arguments; the sources and options serve to read candidates a second time.

        Args:
            sources: [Source], of all images.
            options: of the conversion.
            num_parts: of each band.
            named_by: from a row to the name of its fingerprint.
            by_features: the copies that were found by features, if they were looked for.
        """
        super().__init__()
        self._by_features = by_features
        self._sources, self._options, self._num_parts, self._named_by = sources, options, num_parts, named_by

    def expand(self, fingerprints: beam.PCollection) -> beam.PCollection:
        """Returns the dictionary, the only element."""
        groups = AsSingleton(
            fingerprints
            | "Bands" >> beam.FlatMap(_bands, self._num_parts)
            | "GroupByBand" >> beam.GroupByKey()  # ((band or all of them, part), [FingerprintColumns])
            | "Links" >> beam.ParDo(InProcesses(_begin_links))  # Links
            | "Connect" >> beam.CombineGlobally(_Connect())
        )  # {name: the first name of its group of candidates}
        num_tasks = _TASKS * self._num_parts
        candidates = fingerprints | "Candidates" >> beam.FlatMap(_candidates, groups, num_tasks).with_outputs(
            _TO_READ, main="parts"
        )
        to_read = AsSingleton(
            candidates[_TO_READ]  # ((group, digest), name)
            # One of several files with the same bytes is enough: the first, which is compared for all of them.
            | "FirstOfSameBytes" >> beam.CombinePerKey(min)
            | "Names" >> beam.Values()
            | "AllNames" >> beam.combiners.ToSet()
        )
        pictured = (
            self._sources
            | "ToRead" >> beam.ParDo(_ToRead(self._named_by), to_read)  # (0, [[(name, Source)]])
            # Only the chosen rows are shuffled. The shuffle spreads them over all workers.
            | "Apart" >> beam.Reshuffle()
            | "ReadAgain" >> beam.ParDo(InProcesses(_begin_reading_again, self._options))  # [(Fingerprint, Picture)]
            | "Pictured" >> beam.FlatMap(_pictured, groups, num_tasks)
        )
        links = (
            (candidates.parts, pictured)
            | "WithPictures" >> beam.Flatten()
            | "GroupCandidates" >> beam.GroupByKey()  # (part, [Candidates])
            | "Compare" >> beam.ParDo(InProcesses(_begin_comparing))  # Links
        )
        if self._by_features:
            further = self._sources | "ByFeatures" >> LinkCopies(self._by_features, self._named_by)
            links = (links, further) | "WithLinksByFeatures" >> beam.Flatten()
        return links | "ConnectCopies" >> beam.CombineGlobally(_Connect())


class _Connect(beam.CombineFn):
    """Links -> the groups of connected names."""

    def create_accumulator(self) -> Groups:
        return Groups()

    def add_input(self, groups: Groups, links: Links) -> Groups:
        groups.add(links)
        return groups

    def merge_accumulators(self, accumulators: Iterable[Groups]) -> Groups:
        merged = Groups()
        for groups in accumulators:
            merged.merge(groups)
        return merged

    def extract_output(self, groups: Groups) -> dict[str, str]:
        return groups.result()


def _bands(some: Batch[Fingerprint], num_parts: int) -> Iterator[tuple[tuple[int, int], FingerprintColumns]]:
    return neighbours.bands(some, num_parts)


def _begin_links(group: tuple[tuple[int, int], Iterable[FingerprintColumns]]) -> Callable[[], Links]:
    (band, _), columns = group
    return neighbours.begin_links(band, columns)


def _candidates(some: Batch[Fingerprint], groups: Mapping[str, str], num_parts: int) -> Iterator[Any]:
    """Yields candidates by part; and as a further output ((group, digest), name) of each image to be read again."""
    yield from lookalikes.parts(some, [None] * len(some), groups, num_parts)
    chosen = [one for one in some if one.filename in groups and one.phash is not None]
    for one, is_plain in zip(chosen, lookalikes.are_plain(chosen), strict=True):
        if is_plain:
            yield TaggedOutput(_TO_READ, ((groups[one.filename], one.digest), one.filename))


class _ToRead(beam.DoFn):
    """[Source] -> (0, [[(name, Source)]]): the sources that are to be read again, with the names of their fingerprints.

    A batch has few of them, and a task that reads from a store waits for it at least once. So the sources of many
    batches make one element.
    """

    def __init__(self, named_by: Callable[[Row], str]):
        """Stores the function from a row to the name of its fingerprint."""
        super().__init__()
        self._named_by = named_by
        self._chosen: Batch[tuple[str, Source]] = Batch()

    def start_bundle(self) -> None:
        """Forgets the sources of a bundle that has failed: it is repeated as a whole."""
        self._chosen = Batch()

    def process(
        self, sources: Batch[Source], to_read: AbstractSet[str]
    ) -> Iterator[tuple[int, list[Batch[tuple[str, Source]]]]]:
        """Yields an element as soon as there are enough sources for one."""
        named = ((self._named_by(source.row), source) for source in sources)
        self._chosen += (one for one in named if one[0] in to_read)
        if len(self._chosen) >= _READ_TOGETHER:
            yield self._next()

    def finish_bundle(self) -> Iterator[Any]:
        """Yields an element of the sources that are left."""
        if self._chosen:
            yield GlobalWindows.windowed_value(self._next())

    def _next(self) -> tuple[int, list[Batch[tuple[str, Source]]]]:
        chosen, self._chosen = self._chosen, Batch()
        return 0, [chosen]


def _begin_reading_again(chosen: tuple[int, Iterable[Batch[Any]]], options: ConvertOptions) -> Callable[[], Batch[Any]]:
    names, sources = zip(*itertools.chain.from_iterable(chosen[1]), strict=True)
    return processes.begin(
        reading.pictured, names, sources, reading.preparation(options), parallel.threads_of_a_process(options)
    )


def _pictured(
    read: Sequence[tuple[Fingerprint, Picture]], groups: Mapping[str, str], num_parts: int
) -> Iterator[tuple[int, Candidates]]:
    if read:
        some, pictures = zip(*read, strict=True)
        yield from lookalikes.parts(some, pictures, groups, num_parts)


def _begin_comparing(part: tuple[int, Iterable[Candidates]]) -> Callable[[], Links]:
    return lookalikes.begin_links(part[1])
