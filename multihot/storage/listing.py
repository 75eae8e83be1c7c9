"""Lists the objects of stores: `gs://`, `s3://` and `az://`. A request lists a thousand objects."""

import fnmatch
import itertools
import re
from collections.abc import Iterator, Sequence
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
    listed = itertools.chain.from_iterable(_pages(place, part.after))
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
