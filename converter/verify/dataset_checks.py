r"""Reads a dataset again, in full, and reports every fault: `python -m converter.verify DIR`.

manifest --> the files that there must be, and no others
         \-> each shard: digest, crcs, every record, all images or a sample    (several shards at a time)
               \-> its index; the statistics of its split; names that occur twice
manifest --> the files for other readers; the number of rows and files that were left out
"""

import dataclasses
import functools
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field

from converter.dataset.lists import read_csv
from converter.duplicates import grouping
from converter.duplicates.grouping import Member
from converter.limits import DEFAULT, LimitOptions, Limits
from converter.rejects import Damaged, Reject
from converter.verify.shard_checks import Checked, Problem, check_shard
from multihot import command, flags, machine, storage
from multihot.errors import UserError
from multihot.settings import setting
from multihot.storage import File
from multihot.usage import Usage
from schemas import derived, layout, metadata
from schemas.duplicates import DUPLICATES_COLUMNS
from schemas.metadata import DatasetInfo, ShardInfo, SplitInfo
from schemas.statistics import Statistics

# Statistics of changes to images before they were stored, which cannot be computed from the records.
_NOT_IN_RECORDS = ("oriented", "resized", "rescaled", "transparent")


def verify(
    directory: str,
    info: DatasetInfo,
    *,
    decode: int | None = None,
    num_threads: int | None = None,
    limits: Limits = DEFAULT,
) -> Iterator[Problem]:
    """Yields every fault of a dataset, in the order of its files for any number of threads.

    Args:
        directory: `<root>/<name>/<version>`, local or in a store.
        info: its manifest.
        decode: approximate number of images to decode, chosen by a hash of their names; None for all.
        num_threads: number of shards that are read at a time; by default, the number of usable cores.
        limits: of an image: a larger record is not held in memory, and a larger image is not decoded.

    Raises:
        OSError: the folder cannot be listed.
    """
    files = {file.name: file for file in storage.list_files(directory)}
    yield from _check_files(info, files)
    share = 1.0 if decode is None else decode / max(1, info.num_examples)
    check = functools.partial(_check_shard, files, info, share, limits)
    executor = ThreadPoolExecutor(num_threads or machine.usable_cores())
    try:
        results = executor.map(check, [shard for split in info.splits for shard in split.shards])
        yield from _check_splits(info, files, results)
    finally:
        executor.shutdown(cancel_futures=True)
    yield from _check_derived(info, files)
    yield from _check_lists(directory, info, files)


def _check_files(info: DatasetInfo, files: Mapping[str, File]) -> Iterator[Problem]:
    shards = {shard.path for split in info.splits for shard in split.shards}
    expected = layout.files(shards) | ({layout.DAMAGED} if info.damaged else set())
    for path in sorted(expected - shards - files.keys()):
        yield Problem(path, None, "is missing")
    for path in sorted(files.keys() - expected):
        if not layout.may_have(path):
            yield Problem(path, None, "does not belong to a dataset; some readers take every file of a folder")


def _check_shard(
    files: Mapping[str, File], info: DatasetInfo, share: float, limits: Limits, shard: ShardInfo
) -> Checked:
    num_classes = len(info.classes)
    if shard.path in files:
        chosen = functools.partial(_is_chosen, share=share)
        return check_shard(files[shard.path].path, shard, num_classes, chosen, limits, info.has_unknown)
    checked = Checked(shard=shard, statistics=Statistics(positives=(0,) * num_classes))
    checked.problem("is missing")
    return checked


def _is_chosen(filename: str, share: float) -> bool:
    # With the hash by which images are sorted, the chosen images would all be in the first shards.
    digest = hashlib.blake2b(filename.encode(), digest_size=8, person=b"verify").digest()
    return int.from_bytes(digest) < share * (1 << 64)


def _check_splits(info: DatasetInfo, files: Mapping[str, File], results: Iterator[Checked]) -> Iterator[Problem]:
    owners: dict[bytes, str] = {}
    for split in info.splits:
        statistics, complete = Statistics(positives=(0,) * len(info.classes)), True
        for checked in itertools.islice(results, len(split.shards)):
            yield from checked.problems
            if checked.index is not None:
                yield from _check_content(files, layout.shard_index(checked.shard.path), checked.index.encode())
            yield from _check_unique(checked, owners)
            statistics, complete = statistics + checked.statistics, complete and checked.complete
        if complete:
            yield from _check_statistics(split, statistics)


def _check_unique(checked: Checked, owners: dict[bytes, str]) -> Iterator[Problem]:
    """Yields a problem for each name that an earlier shard has; `owners` has the digests of all names so far."""
    for filename, offset in checked.filenames:
        digest = hashlib.blake2b(filename.encode(), digest_size=16).digest()
        if digest in owners:
            yield Problem(checked.shard.path, offset, f"{filename!r} is also in {owners[digest]}")
        owners[digest] = checked.shard.path


def _check_statistics(split: SplitInfo, statistics: Statistics) -> Iterator[Problem]:
    differing = [
        field.name
        for field in dataclasses.fields(Statistics)
        if field.name not in _NOT_IN_RECORDS
        and getattr(statistics, field.name) != getattr(split.statistics, field.name)
    ]
    if differing:
        sentence = f"the statistics of {split.name} are not those of its examples: {', '.join(differing)}"
        yield Problem(layout.MANIFEST, None, sentence)


def _check_content(files: Mapping[str, File], path: str, expected: bytes) -> Iterator[Problem]:
    """Checks the content of a file. A missing file is no problem here: `_check_files` reports it."""
    if path not in files:
        return
    try:
        # A file of another size is not read, since it may be large.
        if files[path].size != len(expected) or storage.read(files[path].path) != expected:
            source = "shard" if path.startswith(f"{layout.INDEX}/") else "manifest"
            yield Problem(path, None, f"does not have the content that follows from the {source}")
    except OSError as error:
        yield Problem(path, None, f"cannot be read: {error}")


def _check_derived(info: DatasetInfo, files: Mapping[str, File]) -> Iterator[Problem]:
    try:
        contents = derived.files(info)
    except (ArithmeticError, ValueError) as error:
        yield Problem(layout.MANIFEST, None, f"has impossible numbers: {error}")
        return
    for path, content in contents.items():
        yield from _check_content(files, path, content)


def _check_lists(directory: str, info: DatasetInfo, files: Mapping[str, File]) -> Iterator[Problem]:
    """Checks the counts of rejects, unlisted files, leaks and damaged images in the manifest against the lists."""
    lists: tuple[tuple[str, Sequence[str], Callable[[Iterator[Mapping[str, str]]], object], object], ...] = (
        (layout.REJECTS, Reject._fields, lambda rows: dict(Counter(row["reason"] for row in rows)), info.rejects),
        (layout.UNLISTED, ["filename"], lambda rows: sum(1 for _ in rows), info.unlisted),
        (layout.DUPLICATES, DUPLICATES_COLUMNS, _leaks, info.leaks),
        (layout.DAMAGED, Damaged._fields, lambda rows: sum(1 for _ in rows), info.damaged),
    )
    for path, columns, count, expected in lists:
        if path not in files:
            continue
        try:
            found = count(read_csv(directory, path, columns))
        except (OSError, UserError) as error:
            yield Problem(path, None, f"cannot be read: {error}")
            continue
        if found != expected:
            yield Problem(path, None, f"it lists {found}; the manifest says {expected}")


def _leaks(rows: Iterator[Mapping[str, str]]) -> Mapping[str, int]:
    members = (Member(row["group"], row["filename"], row["split"], b"") for row in rows)
    return grouping.leaks(members)._asdict()


def _parse_decode(text: str) -> int | None:
    if text in ("all", "none"):
        return 0 if text == "none" else None
    if not text.isdecimal():
        raise UserError(f"--decode must be all, none or a number. Received: {text!r}")
    return int(text)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifyOptions(LimitOptions):
    """The settings of a verification."""

    directory: str = field(metadata=setting("Folder of the dataset: ROOT/NAME/VERSION.", value="DIR", positional=True))
    # None is all.
    decode: int | None = field(
        default=None,
        metadata=setting(
            "Images to decode: all, none, or about N, the same ones each time.",
            value="all|none|N",
            text="all",
            parse=_parse_decode,
        ),
    )


USAGE = Usage(
    module="converter.verify",
    description="Reads a dataset again, in full, and prints every fault. Exit status: 0 if there is none, 1 otherwise.",
    example="data/miml/1.0.0 --decode=500",
    settings=(VerifyOptions,),
)


def main(options: VerifyOptions) -> int:
    """Prints every fault and a summary; returns the status: 0 if there is no fault, 1 otherwise."""
    storage.check(options.directory)
    info = metadata.load(options.directory)
    num_problems = 0
    for problem in verify(options.directory, info, decode=options.decode, limits=options.limits):
        print(problem)
        num_problems += 1
    num_shards = sum(len(split.shards) for split in info.splits)
    decoded = {None: "all", 0: "none"}.get(options.decode, f"about {options.decode}")
    result = f"{num_problems} problems" if num_problems else "all is well"
    print(f"Checked {num_shards} shards of {info.num_examples} examples, images decoded: {decoded}. Found: {result}.")
    return min(num_problems, 1)


def run() -> None:
    """Entry point."""
    command.run(main, parse=functools.partial(flags.parse, USAGE))
