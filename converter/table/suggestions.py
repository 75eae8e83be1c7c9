"""Finds out how the names in a table differ from those of the files, and which flags make them fit.

For each name, the files are sought whose last part is the same but for the case, the ending or a query. The difference
between a name and its file has four parts, which have nothing to do with each other:

    folder    the name has a folder more than the file, or one less; or only the last parts agree
    query     the name ends in ?size=large
    ending    the name lacks .jpg, or has another ending
    case      upper and lower case differ

The difference that most names have is the one that is reported.
"""

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from converter.options import ConvertOptions
from converter.rejects import Reason, Reject
from converter.table.filenames import base, without_ending
from multihot import storage

# Reasons of rows whose names may be those of files but for a folder, an ending or the like.
_REASONS = (Reason.MISSING_FILE, Reason.UNSAFE_PATH)
# Names that are compared, and files that each is compared with: enough to tell what most of them have.
_NAMES, _FILES = 2000, 20
# Differences that are tried; the others are rare.
_CANDIDATES = 50
# The share of the names that a difference must explain to be worth a sentence.
_LEAST_SHARE = 0.2
# The share that one folder, or one ending, must explain of those that another kind of difference would explain.
_MOST_OF_THEM = 0.95
# Characters that mean something else in a regular expression.
_SPECIAL = re.compile(r"([\\.^$*+?{}\[\]|()])")


class Difference(NamedTuple):
    """The parts in which a name differs from the file that it means: "" and False where they agree.

    Attributes:
        folder: more, if the name has the folders of `path` more than the file; less, if it lacks them; csv, if it lacks
            the folder of a table; other, if only the last parts of the names agree.
        path: those folders, with '/' at the end.
        query: whether the name has a query at its end.
        ending: the ending that the name lacks; or other, if it has another one, or names lack different ones.
        case: whether upper and lower case differ.
    """

    folder: str = ""
    path: str = ""
    query: bool = False
    ending: str = ""
    case: bool = False


class Suggestion(NamedTuple):
    """The difference that most names have.

    Attributes:
        difference: between a name and its file.
        name: one of the names.
        file: the file that it means.
        num_explained: number of names that differ in this way, of those that were compared.
        num_compared: number of names that were compared.
        flags: flags that make the names fit, with their values.
    """

    difference: Difference
    name: str
    file: str
    num_explained: int
    num_compared: int
    flags: Mapping[str, str | bool]


def may_help(reason: Reason) -> bool:
    """Whether a row that was rejected for a reason may have a name that differs from that of its file."""
    return reason in _REASONS


def hint(options: ConvertOptions, rejects: Sequence[Reject], unlisted: Collection[str], fitting: int) -> str:
    """Returns a sentence about names in the table that are no names of files; "" if there is nothing to say.

    Args:
        options: of the conversion.
        rejects: rows that were rejected for a reason with which a suggestion may help.
        unlisted: names of the files that no row names, sorted.
        fitting: number of rows that have found their files.
    """
    if not unlisted:
        return ""
    folders = {storage.relative(posixpath.dirname(csv) or ".", options.images) for csv in {one.csv for one in rejects}}
    found = suggest(
        [one.filename for one in rejects],
        unlisted,
        images=options.images,
        csv_folders={folder for folder in folders if folder},
        fitting=fitting,
    )
    files = f"{options.images} holds {len(unlisted)} files that no row names"
    if found and options.filename_pattern:
        found += ", where names are as --filename_pattern takes them now"
    found = found or _akin([one.filename for one in rejects], unlisted)
    example = next((name for name in unlisted if without_ending(name) != name), next(iter(unlisted)))
    return f"{files}; {found}" if found else f"{files}, such as {example!r}: is it the right folder?"


def _akin(names: Sequence[str], files: Collection[str]) -> str | None:
    """Returns a sentence about names that no flag makes fit: with a label behind them, or without zeros; or None."""
    names = names[:_NAMES]
    shortened = {name: list(_shortened(_last(name))) for name in names}
    zeroless = {name: _last(name).removesuffix(".0").lstrip("0") for name in names}
    wanted, numbers_wanted = {rest for each in shortened.values() for rest in each}, {*zeroless.values()}
    stems, numbers = dict[str, str](), dict[str, str]()
    for file in files:  # There may be millions.
        if (stem := _last(file)) in wanted:
            stems[stem] = file
        if stem.isdecimal() and (number := stem.lstrip("0")) in numbers_wanted:
            numbers[number] = file
    longer, shorter = [], []
    for name in names:
        whole, *others = shortened[name]
        if whole in stems:
            continue
        if zeroless[name] in numbers:
            shorter.append((name, numbers[zeroless[name]]))
        if found := next((stems[rest] for rest in others if rest in stems), ""):
            longer.append((name, found))
    for alike, words in (
        (
            longer,
            "have something behind the name of a file, as in {!r} for {!r}. If it is a label, write it to a column of "
            "its own, and give --merge_rows",
        ),
        (shorter, "are numbers that are written otherwise, as in {!r} for {!r}: write them as the files do"),
    ):
        if len(alike) > _LEAST_SHARE * len(names):
            return f"{len(alike)} names {words.format(*alike[0])}"
    return None


def _shortened(rest: str) -> Iterator[str]:
    """Yields the last part of a name, and what is left of it when the parts behind underscores are taken away."""
    yield rest
    while "_" in rest:
        rest = _key(rest.rpartition("_")[0])
        yield rest


def suggest(
    names: Sequence[str],
    files: Collection[str],
    *,
    images: str = "",
    csv_folders: Collection[str] = (),
    fitting: int = 0,
) -> str | None:
    """Returns a sentence that says how most names differ from files, with the flags that help; None if none is alike.

    Args:
        names: names in the rows, normalized; those that fit a file are left out.
        files: names of the files in the folder of images.
        images: the folder of images, for messages.
        csv_folders: the folders of the tables, relative to the folder of images, where they lie in it.
        fitting: number of further names, of rows that have found their files.
    """
    found = find(names, files, images=images, csv_folders=csv_folders, fitting=fitting)
    if not found:
        return None
    share = "the names" if found.num_explained == found.num_compared else "most names"
    if 2 * found.num_explained < found.num_compared:
        share = f"{found.num_explained} of {found.num_compared} names"
    flags = " ".join(_flag(name, value) for name, value in found.flags.items())
    return f"{share} {' and '.join(_words(found.difference))}, as in {found.name!r} for {found.file!r}: try {flags}"


def find(
    names: Sequence[str],
    files: Collection[str],
    *,
    images: str = "",
    csv_folders: Collection[str] = (),
    fitting: int = 0,
) -> Suggestion | None:
    """Returns the difference that most names have, and the flags that help; the arguments are as in `suggest`."""
    pairs = _pairs(_sample(names), files, set() if fitting else {f"{folder}/" for folder in csv_folders if folder})
    compared = {name: found for name, found in pairs.items() if Difference() not in found}
    chosen, meant = _most_frequent(list(compared.values()))
    if not chosen or len(meant) < _LEAST_SHARE * len(compared):
        return None
    name, file = next((name, meant[i]) for i, name in enumerate(compared) if i in meant)
    fitting += len(pairs) - len(compared)
    return Suggestion(chosen, name, file, len(meant), len(compared), _flags(chosen, name, images, fitting))


def _sample(names: Sequence[str]) -> list[str]:
    """Returns up to _NAMES different names, from all parts of a list."""
    names = sorted(set(names))
    return names[:: -(-len(names) // _NAMES) or 1]


def _pairs(
    names: Iterable[str], files: Iterable[str], csv_folders: Collection[str]
) -> dict[str, dict[Difference, list[str]]]:
    """Returns for each name how it differs from files that it may mean, the nearest of them, with these files.

    A file is near if its path is the end of the name, or the name is the end of its path. Only where there is none,
    files count whose last part is that of the name: all of them may be.
    """
    near: dict[str, list[str]] = {name: [] for name in names}
    whole: defaultdict[str, list[str]] = defaultdict(list)
    ends: defaultdict[str, list[str]] = defaultdict(list)
    for name in near:
        for key in {_key(name), _key(_without_query(name))}:
            whole[key].append(name)
            for end in _ends(key):
                ends[end].append(name)
    last: dict[str, list[str]] = {end: [] for end in ends if "/" not in end}
    for file in files:
        first, *others = _ends(_key(file))
        for name in {*ends.get(first, ()), *(name for end in others for name in whole.get(end, ()))}:
            near[name] += [file] * (len(near[name]) < _FILES)
        some = last.get(others[-1] if others else first)
        if some is not None and len(some) < _FILES:
            some.append(file)
    found = {}
    for name, nearest in near.items():
        differences: defaultdict[Difference, list[str]] = defaultdict(list)
        for file in sorted(nearest or {*last[_last(name)], *last[_last(_without_query(name))]}):
            if difference := _difference(name, file, csv_folders):
                differences[difference].append(file)
        least = min(map(_size, differences), default=0)
        found[name] = {one: files for one, files in differences.items() if _size(one) == least}
    return found


def _key(name: str) -> str:
    """Returns a name without its ending, in lower case."""
    return without_ending(name).lower()


def _ends(key: str) -> list[str]:
    """Returns a path, and all paths at its end, such as b/c and c in a/b/c."""
    ends = [key]
    while "/" in key:
        key = key.partition("/")[2]
        ends.append(key)
    return ends


def _last(name: str) -> str:
    return _key(name).rpartition("/")[2]


def _without_query(name: str) -> str:
    return re.split("[?#]", name, maxsplit=1)[0]


def _size(difference: Difference) -> int:
    """Returns the number of parts in which a name and a file differ; a whole path counts more than a folder."""
    return sum(map(bool, difference)) + (difference.folder == "other")


def _difference(name: str, file: str, csv_folders: Collection[str]) -> Difference | None:
    """Returns the difference between a name and a file; None if they have nothing to do with each other."""
    if name == file:
        return Difference()
    folder, _, end = name.rpartition("/")
    file_folder, _, file_end = file.rpartition("/")
    plain = _without_query(end)
    if query := plain != end and end.lower() != file_end.lower():
        end = plain
    ending = _ending(end, file_end)
    if ending is None:
        return None
    case = not file_end.startswith(without_ending(end)) or (not ending and end != file_end)
    where = _folder(folder, file_folder)
    if where == ("other", "") and folder.lower() != file_folder.lower():
        lower = _folder(folder.lower(), file_folder.lower())
        if lower[0] == "more":  # The folder is cut off as it is written.
            where, case = ("more", folder[: len(lower[1]) - 1] + "/"), True
    elif where == ("other", ""):
        where, case = ("", ""), True
    where = ("csv", "") if where[0] == "less" and where[1] in csv_folders else where
    return Difference(*where, query=query, ending=ending, case=case)


def _ending(end: str, file_end: str) -> str | None:
    """Returns the ending that the last part of a name lacks, or other; "" if there is no difference, None if unlike."""
    if end.lower() == file_end.lower():
        return ""
    stem, file_stem = without_ending(end), without_ending(file_end)
    if end.lower() == file_stem.lower():
        return file_end[len(file_stem) :]
    return "other" if stem.lower() == file_stem.lower() else None


def _folder(folder: str, file_folder: str) -> tuple[str, str]:
    """Returns the parts `folder` and `path` of a Difference for the folders of a name and a file."""
    one, other = (f"{path}/" if path else "" for path in (folder, file_folder))
    if one == other:
        return "", ""
    if one.endswith(f"/{other}") or not other:
        return "more", one[: len(one) - len(other)]
    if other.endswith(f"/{one}") or not one:
        return "less", other[: len(other) - len(one)]
    return "other", ""


def _general(difference: Difference, like: Difference) -> Difference:
    """Returns a difference in the more general terms of another: any folder, any ending."""
    if like.folder == "other" and difference.folder:
        difference = difference._replace(folder="other", path="")
    if like.ending == "other" and difference.ending:
        difference = difference._replace(ending="other")
    return difference


def _most_frequent(found: Sequence[Mapping[Difference, Sequence[str]]]) -> tuple[Difference | None, dict[int, str]]:
    """Returns the difference that most names have, and the file that each of them means, by the number of the name.

    A difference with one folder or one ending is preferred to one with any, unless it explains fewer names.
    """
    counts = Counter(difference for differences in found for difference in differences)
    candidates = {difference for difference, _ in counts.most_common(_CANDIDATES)}
    candidates |= {one._replace(folder="other", path="") for one in candidates if one.folder}
    candidates |= {one._replace(ending="other") for one in candidates if one.ending}
    if not candidates:
        return None, {}
    meant = {one: dict(_explained(found, one)) for one in candidates}
    most = max(map(len, meant.values()))
    good = [one for one in candidates if len(meant[one]) >= _MOST_OF_THEM * most]
    best = min(good, key=lambda one: (one.ending == "other", _size(one), -len(meant[one]), one))
    if best.folder == "less" and any(
        len(meant[one]) == len(meant[best]) for one in good if one != best and one == best._replace(path=one.path)
    ):
        return None, {}  # The names mean files of several folders.
    return best, meant[best]


def _explained(found: Sequence[Mapping[Difference, Sequence[str]]], like: Difference) -> Iterator[tuple[int, str]]:
    """Yields the number of each name that a difference explains, and the file that the name means."""
    for i, differences in enumerate(found):
        files = [file for one, some in differences.items() if _general(one, like) == like for file in some]
        # If a name means several files, ignoring the difference would not tell which. A table tells by its folder.
        if len(files) == 1 or (files and like.folder == "csv"):
            yield i, files[0]


def _flags(difference: Difference, name: str, images: str, fitting: int) -> dict[str, str | bool]:
    """Returns the flags that make names with a difference fit; `name` is one of them."""
    flags: dict[str, str | bool] = {}
    ignored = []
    pattern = "^"
    if difference.folder == "more":
        path = _SPECIAL.sub(r"\\\1", difference.path)
        pattern = f"^(?:{path})?"
    elif difference.folder == "csv":
        flags["relative_to_csv"] = True
    elif difference.folder == "less" and not fitting and images:
        flags["images"] = f"{images.rstrip('/')}/{difference.path.rstrip('/')}"
    elif difference.folder:
        ignored.append("basename")
    if difference.query and ("basename" not in ignored or "?" in base(name)):
        flags["filename_pattern"] = f"{pattern}([^?#]*)"
    elif difference.folder == "more":
        flags["filename_pattern"] = f"{pattern}(.*)"
    if difference.ending == "other":
        ignored.append("stem")
    elif difference.ending:
        flags["filename_suffix"] = difference.ending
    if difference.case:
        ignored.append("ignore_case")
    if ignored:
        flags["filename_match"] = ",".join(ignored)
    return flags


def _flag(name: str, value: str | bool) -> str:
    if value is True:
        return f"--{name}"
    return f"--{name}={value}" if re.fullmatch(r"[\w./:,-]*", str(value)) else f"--{name}='{value}'"


def _words(difference: Difference) -> Iterator[str]:
    if difference.folder == "more":
        yield f"have a folder too many, {difference.path!r}"
    elif difference.folder == "csv":
        yield "are relative to the folder of the table"
    elif difference.folder == "less":
        yield f"lack the folder {difference.path!r}"
    elif difference.folder:
        yield "are in other folders"
    if difference.query:
        yield "have a query at the end"
    if difference.ending == "other":
        yield "lack the ending, or have another one"
    elif difference.ending:
        yield f"lack the ending {difference.ending!r}"
    if difference.case:
        yield "differ in upper and lower case"
