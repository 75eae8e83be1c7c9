"""Lists the objects of stores: `gs://`, `s3://` and `az://`.

A request lists a thousand objects, and says where the next thousand begin. So a long listing is cut into ranges of
keys, several of which are listed at the same time. Nobody knows the keys before they are listed: bounds are guessed
from the characters of those that have been, and any bounds give the same listing.

    0000.jpg ... 2999.jpg -> ranges up to 3, 4, ... 9, and to the end
"""

import collections
import fnmatch
import itertools
import re
import string
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from multihot.storage.files import File
from multihot.storage.objects import Object, at, repeated

if TYPE_CHECKING:
    from obstore import ObjectMeta

# Objects for which one request asks.
_PAGE = 1000
# Parts of a listing that are enough for all workers, and that are looked for at most: each takes a request.
_ENOUGH_PARTS, _MOST_PARTS = 64, 1000
# Depth to which folders are parts of their own.
_DEEPEST = 4
# Pages that are listed one after the other before the rest is cut into ranges; ranges that are listed at a time; and
# ranges into which the rest is cut at most.
_IN_TURN, _AT_A_TIME, _MOST_RANGES = 3, 16, 100
# Characters of which names are made. If one of a set is found, others of it are expected.
_SETS = (string.digits, string.ascii_uppercase, string.ascii_lowercase)
# The end of a bound: it comes after all keys that begin in the same way, and is the end of no key.
_BEHIND = "~multihot"


class Part(NamedTuple):
    """A part of a listing: the objects whose keys are behind `after`, up to `until`; None is the beginning or the end.

    Attributes:
        after: a key; the object that has it belongs to the part before.
        until: a key; the object that has it is the last one.
    """

    after: str | None = None
    until: str | None = None


def parts(folder: str) -> list[Part]:
    """Returns parts of a listing that can be listed at the same time: ranges of folders, of a thousand objects or more.

    Objects directly in a folder are not divided.
    """
    place = at(folder)
    # Azure has no listing from a key on: the client would list everything for each part.
    if folder.startswith("az://"):
        return [Part()]
    bounds: list[str] = []
    for depth in range(1, _DEEPEST + 1):
        found = _bounds(place, depth)
        if found is None or len(found) <= len(bounds):
            break
        bounds = found
        if len(bounds) >= _ENOUGH_PARTS:
            break
    return [Part(*ends) for ends in itertools.pairwise([None, *bounds, None])]


def _bounds(place: Object, depth: int) -> list[str] | None:
    """Returns keys between the folders of a depth that a thousand objects or more are apart; None if there are many."""
    start = _start(place)
    bounds: list[str] = []
    after: str | None = None
    while page := next(_pages(place, after), None):
        folders = page[-1]["path"].removeprefix(start).split("/")[:-1]
        if len(page) < _PAGE or len(folders) < depth:
            break
        if len(bounds) == _MOST_PARTS:
            return None
        key = start + "/".join(folders[:depth])
        # "." comes before "/", and "0" behind it.
        bounds.append(f"{key}.")
        after = f"{key}0"
    return bounds


def list_files(folder: str, part: Part = Part()) -> Iterator[File]:  # noqa: B008
    """Yields every object of a part below a folder. See storage.list_files."""
    place = at(folder)
    start = _start(place)
    base = folder.rstrip("/")
    empty = None
    listed = itertools.chain.from_iterable(_ranges(place, part))
    # An object that stands for the folder itself has no name in it.
    for one in (one for one in listed if one["path"].startswith(start)):
        name = one["path"].removeprefix(start)
        file = File(name, f"{base}/{name}", one["size"], _nanoseconds(one["last_modified"]))
        # An empty object `a/` stands for a folder in some tools. The client names it `a`, and what is inside follows.
        if empty and not name.startswith(f"{empty.name}/"):
            yield empty
        if part.until and one["path"] > part.until:
            return
        empty = None if file.size else file
        if not empty:
            yield file
    if empty:
        yield empty


def _ranges(place: Object, part: Part) -> Iterator["Sequence[ObjectMeta]"]:
    """Yields the pages of a part in the order of their keys, as `_pages`. The last one may go on behind the part."""
    if place.url.startswith("az://"):
        yield from _pages(place, part.after)
        return
    first, goes_on = _begun(place, part)
    yield from first
    if not goes_on:
        return
    ranges = collections.deque(_Range(each) for each in _cut(_start(place), first[-1], part.until))
    with ThreadPoolExecutor(_AT_A_TIME) as executor:
        while ranges:
            for each in itertools.islice(ranges, _AT_A_TIME):
                each.listing = each.listing or executor.submit(_begun, place, each.part)
            head = ranges.popleft()
            assert head.listing
            pages, goes_on = head.listing.result()
            until = head.part.until
            for page in pages:
                # Further keys are those of the next range.
                inside = itertools.takewhile(lambda one: until is None or one["path"] <= until, page)  # noqa: B023
                yield page if until == part.until else list(inside)
            if goes_on:
                ranges.extendleft(map(_Range, reversed(_cut(_start(place), pages[-1], until))))


class _Range:
    """A part of a listing, and its first pages, if they have been asked for."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.listing: Future[tuple[list[Sequence[ObjectMeta]], bool]] | None = None


def _begun(place: Object, part: Part) -> tuple[list["Sequence[ObjectMeta]"], bool]:
    """Returns the first pages of a part, and whether it goes on behind them."""
    pages: list[Sequence[ObjectMeta]] = []
    for page in _pages(place, part.after):
        pages.append(page)
        if len(page) < _PAGE or (part.until and page[-1]["path"] > part.until):
            return pages, False
        # The key of an empty object may be `a/`, of which the client says `a`: nothing can be cut behind it.
        if len(pages) >= _IN_TURN and page[-1]["size"]:
            return pages, True
    return pages, False


def _cut(start: str, page: "Sequence[ObjectMeta]", until: str | None) -> list[Part]:
    """Cuts what comes behind a page, up to a key, into parts.

    Args:
        start: of all keys.
        page: the last keys that were listed, ascending.
        until: the last key of all parts; None is the end.
    """
    last = page[-1]["path"]
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(page[0]["path"], last, strict=False))
    common = sum(1 for _ in same)
    varying = {one["path"][common : common + 1] for one in page}
    expected = sorted("".join(each for each in _SETS if varying & set(each)))
    bounds = [
        f"{last[:place]}{character}{_BEHIND}"
        for place in range(common, len(start) - 1, -1)
        if last[place : place + 1] in expected
        for character in expected
        if character >= last[place]
    ]
    # Not all of them come after a name with other characters.
    inside = [bound for bound in bounds if last < bound and (until is None or bound < until)][:_MOST_RANGES]
    return [Part(*ends) for ends in itertools.pairwise([last, *inside, until])]


def _pages(place: Object, after: str | None) -> Iterator["Sequence[ObjectMeta]"]:
    """Yields what a store says of every object below a folder, in the order of their keys.

    Args:
        place: of the folder.
        after: the key behind which the listing begins; None for the first.
    """
    import obstore

    pages: Any = None

    def next_page() -> "Sequence[ObjectMeta] | None":
        nonlocal pages
        # After an error there are none, and the listing goes on behind the last page.
        current = pages or obstore.list(place.store, place.key or None, offset=after, chunk_size=_PAGE)
        pages = None
        page: Sequence[ObjectMeta] | None = next(current, None)
        pages = current
        return page

    while page := repeated(next_page, place.url):
        yield page
        after = page[-1]["path"]


def _start(place: Object) -> str:
    """Returns the beginning of all keys in a folder."""
    return f"{place.key}/" if place.key else ""


def list_folders(folder: str) -> list[str]:
    """Returns the names of the folders directly in a folder."""
    import obstore

    place = at(folder)
    found = repeated(lambda: obstore.list_with_delimiter(place.store, place.key or None), folder)
    return sorted(key.rstrip("/").rpartition("/")[2] for key in found["common_prefixes"])


def _nanoseconds(time: Any) -> int:
    return int(time.timestamp() * 1_000_000) * 1_000


def match(pattern: str) -> list[str]:
    """Returns the objects that a pattern matches, as it would match files of this machine.

    `**` stands for any folders, and no wildcard for a dot at the beginning of a name.
    """
    folder = re.split(r"[*?[]", pattern, maxsplit=1)[0].rpartition("/")[0]
    patterns = pattern.removeprefix(f"{folder}/").split("/")
    return [file.path for file in list_files(folder) if _matches(file.name.split("/"), patterns)]


def _matches(names: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether the names of folders and of a file in them match as many patterns."""
    if not names or not patterns:
        return not names and not patterns
    name, pattern = names[0], patterns[0]
    if name.startswith(".") and not pattern.startswith("."):
        return pattern == "**" and _matches(names, patterns[1:])
    if pattern == "**":
        return (len(patterns) == len(names) == 1) or _matches(names, patterns[1:]) or _matches(names[1:], patterns)
    return fnmatch.fnmatchcase(name, pattern) and _matches(names[1:], patterns[1:])
