"""Objects of stores are written, read and listed like files, whatever their names, and though requests fail."""

import errno
import os
import random
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import buckets
from buckets import Bucket
from multihot import storage
from multihot.errors import UserError
from multihot.storage import File, StoreError, connections, listing, local, objects
from store_server import Fault, Server

# Of what there is no second in hypothesis: the store is that of the test, and is emptied by each example.
_PROPERTY = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


# Names and listings.


@pytest.mark.parametrize("name", buckets.NAMES)
def test_names_of_all_kinds_go_through_everything(bucket: Bucket, name: str) -> None:
    path = f"{bucket.url}/from/{name}"
    storage.write(path, b"image")
    assert bucket.objects() == {f"from/{name}": b"image"}
    (file,) = storage.list_files(f"{bucket.url}/from")
    assert (file.name, file.path, file.size) == (name, path, 5)
    assert storage.read(path) == b"image"
    assert storage.exists(path)
    with storage.open_binary(path) as opened:
        assert opened.read() == b"image"
    storage.move(path, f"{bucket.url}/to/{name}")
    assert bucket.objects() == {f"to/{name}": b"image"}
    storage.delete(f"{bucket.url}/to/{name}")
    assert bucket.objects() == {}


def test_the_same_letters_composed_and_decomposed_are_two_names(bucket: Bucket) -> None:
    bucket.put(buckets.COMPOSED, content=b"1")
    bucket.put(buckets.DECOMPOSED, content=b"2")
    assert storage.read(f"{bucket.url}/{buckets.COMPOSED}") == b"1"
    assert storage.read(f"{bucket.url}/{buckets.DECOMPOSED}") == b"2"
    assert {file.name for file in storage.list_files(bucket.url)} == {buckets.COMPOSED, buckets.DECOMPOSED}


_SEGMENT = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/"), min_size=1, max_size=12
).filter(lambda text: text not in (".", ".."))


@_PROPERTY
@given(names=st.lists(st.lists(_SEGMENT, min_size=1, max_size=3).map("/".join), min_size=1, max_size=4, unique=True))
def test_what_is_written_is_listed_and_read(bucket: Bucket, names: list[str]) -> None:
    bucket.clear()
    content = {name: f"{number}".encode() for number, name in enumerate(names)}
    for name in names:
        storage.write(f"{bucket.url}/a/{name}", content[name])
    assert bucket.objects() == {f"a/{name}": content[name] for name in names}
    assert {file.name: storage.read(file.path) for file in storage.list_files(f"{bucket.url}/a")} == content


@pytest.mark.parametrize("name", ["a//b", "a/../b", "./a", "tab\t", "line\n", "\x01"])
def test_names_that_the_client_does_not_know_are_one_sentence(bucket: Bucket, name: str) -> None:
    for call in (storage.read, storage.open_binary, lambda path: storage.write(path, b""), storage.exists):
        with pytest.raises(StoreError, match="no object can be opened by this name") as caught:
            call(f"{bucket.url}/x/{name}")
        _is_sentence(caught.value, f"{bucket.url}/x/{name}")
    assert bucket.objects() == {}


@pytest.mark.parametrize("ending", ["", "/"])
@pytest.mark.parametrize("call", [storage.read, storage.open_binary, lambda path: storage.write(path, b"x")])
def test_a_bucket_is_no_object(bucket: Bucket, call: Callable[[str], Any], ending: str) -> None:
    bucket.server.requests()
    with pytest.raises(StoreError, match="this is the name of a bucket, and of no object"):
        call(bucket.url + ending)
    assert not storage.exists(bucket.url + ending)
    assert not bucket.server.requests()


def test_lists_what_is_in_a_folder_with_sizes_and_times(bucket: Bucket) -> None:
    before = time.time_ns()
    bucket.put("a/1.jpg", "a/b/2.jpg", "a/b/c/3.JPG", "ab/4.jpg", "a.jpg", "A/5.jpg")
    bucket.put("a/empty.jpg", content=b"")
    found = sorted(storage.list_files(f"{bucket.url}/a"))
    assert [file._replace(modified=0) for file in found] == [
        File("1.jpg", f"{bucket.url}/a/1.jpg", 5),
        File("b/2.jpg", f"{bucket.url}/a/b/2.jpg", 5),
        File("b/c/3.JPG", f"{bucket.url}/a/b/c/3.JPG", 5),
        File("empty.jpg", f"{bucket.url}/a/empty.jpg", 0),
    ]
    # A store says milliseconds.
    assert all(before - 1_000_000 <= file.modified <= time.time_ns() for file in found)
    assert list(storage.list_files(f"{bucket.url}/a/")) == list(storage.list_files(f"{bucket.url}/a"))
    assert len(list(storage.list_files(bucket.url))) == len(list(storage.list_files(f"{bucket.url}/"))) == 7
    assert list(storage.list_files(f"{bucket.url}/nothing")) == []
    assert list(storage.list_files(f"{bucket.url}/a.jpg")) == []


def test_a_listing_takes_a_request_for_a_thousand_objects(bucket: Bucket) -> None:
    names = [f"a/{number:04}" for number in range(2500)]
    bucket.put(*names, content=b"")
    bucket.server.requests()
    assert [f"a/{file.name}" for file in storage.list_files(f"{bucket.url}/a")] == names
    assert bucket.server.requests() == {"LIST": 3}


_KEYS = st.lists(st.sampled_from(["a", "a.", "a-b", "a0", "b", "é", "b/"]), min_size=1, max_size=4).map("/".join)


@_PROPERTY
@given(keys=st.sets(_KEYS.filter(lambda key: "//" not in key), max_size=40), page=st.integers(1, 4))
def test_the_parts_of_a_listing_have_every_object_once(bucket: Bucket, keys: set[str], page: int) -> None:
    bucket.clear()
    for key in keys:
        bucket.put(f"x/{key}", content=b"" if key.endswith("/") else b"1")
    folder = f"{bucket.url}/x"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing, "_PAGE", page)
        patch.setattr(listing, "_ENOUGH_PARTS", 8)
        patch.setattr(listing, "_MOST_PARTS", 12)
        parts = storage.parts(folder)
        assert len(parts) <= 13
        assert [file for part in parts for file in storage.list_files(folder, part)] == list(storage.list_files(folder))


buckets.NAMES_OF_SETS = st.text("0123456789abcXYZ.-_ é~/", min_size=1, max_size=5).filter(lambda name: "/" not in name)


@_PROPERTY
@given(names=st.sets(_KEYS | buckets.NAMES_OF_SETS, max_size=60), page=st.integers(1, 4), most=st.integers(1, 100))
def test_a_listing_in_ranges_has_every_object_once_and_in_order(
    bucket: Bucket, names: set[str], page: int, most: int
) -> None:
    bucket.clear()
    keys = sorted({f"x/{name.strip('/')}" for name in names if not {"", ".", ".."} & set(name.strip("/").split("/"))})
    bucket.put(*keys, "w", "x0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing, "_PAGE", page)
        patch.setattr(listing, "_IN_TURN", 2)
        patch.setattr(listing, "_MOST_RANGES", most)
        assert [f"x/{file.name}" for file in storage.list_files(f"{bucket.url}/x")] == keys


def test_pages_of_a_long_listing_are_asked_for_at_the_same_time(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number:06}.jpg" for number in range(1000)]
    bucket.put(*(f"a/{name}" for name in names))
    bucket.server.requests()
    monkeypatch.setattr(listing, "_PAGE", 10)
    bucket.server.set_latency(0.05)
    begin = time.monotonic()
    assert [file.name for file in storage.list_files(f"{bucket.url}/a")] == names
    # One after another, a hundred pages take five seconds.
    assert time.monotonic() - begin < 3.5
    assert bucket.server.requests()["LIST"] < 300


def test_folders_are_parts_of_a_listing(bucket: Bucket) -> None:
    bucket.put(*(f"a/{split}/{name}/{i:04}" for split in ("train", "val") for name in "bc" for i in range(1500)))
    bucket.server.requests()
    parts = storage.parts(f"{bucket.url}/a")
    assert len(parts) == 5
    # One for each folder and the end: of depth 1, of depth 2, and of depth 3, which has no more.
    assert bucket.server.requests() == {"LIST": 3 + 5 + 1}
    numbers = [len(list(storage.list_files(f"{bucket.url}/a", part))) for part in parts]
    assert numbers == [0, 1500, 1500, 1500, 1500]


def test_objects_directly_in_a_folder_are_one_part_for_one_request(bucket: Bucket) -> None:
    bucket.put(*(f"a/{i:04}" for i in range(2500)))
    bucket.server.requests()
    assert len(storage.parts(f"{bucket.url}/a")) == 1
    assert bucket.server.requests() == {"LIST": 1}


def test_an_object_that_stands_for_a_folder_is_no_file(bucket: Bucket) -> None:
    bucket.put("a/", "a/b/", "a/empty", content=b"")
    bucket.put("a/b-1.jpg", "a/b/2.jpg", "a/empty.jpg")
    names = [file.name for file in storage.list_files(f"{bucket.url}/a")]
    assert names == ["b-1.jpg", "b/2.jpg", "empty", "empty.jpg"]


def test_folders(bucket: Bucket) -> None:
    bucket.put("a/1.0.0/x", "a/1.1.0/b/y", "a/file", "ab/z")
    assert listing.list_folders(f"{bucket.url}/a") == ["1.0.0", "1.1.0"]
    assert listing.list_folders(bucket.url) == ["a", "ab"]
    assert listing.list_folders(f"{bucket.url}/none") == []


def test_exists_and_size(bucket: Bucket) -> None:
    bucket.put("a/1.jpg")
    bucket.put("empty", content=b"")
    assert [storage.exists(f"{bucket.url}/{name}") for name in ("a/1.jpg", "empty", "a", "a/1", "b")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert [storage.size(f"{bucket.url}/{name}") for name in ("a/1.jpg", "empty", "b")] == [5, 0, 0]


# Reading.


def test_reads_by_one_request_and_no_body_of_what_is_too_large(bucket: Bucket) -> None:
    bucket.put("a", content=b"12345")
    bucket.server.requests()
    assert storage.read(f"{bucket.url}/a", 5) == b"12345"
    assert bucket.server.requests() == {"GET": 1}
    with pytest.raises(storage.FileTooLargeError) as caught:
        storage.read(f"{bucket.url}/a", 4)
    assert caught.value.filename == f"{bucket.url}/a"
    # The answer would be cut off, if anyone read it.
    bucket.put("large", content=bytes(30_000_000))
    bucket.server.fail(Fault("large", "cut", times=1000))
    with pytest.raises(storage.FileTooLargeError, match="more than the 5 MB that are allowed"):
        storage.read(f"{bucket.url}/large", 5_000_000)
    assert bucket.server.requests() == {"GET": 2}


def test_what_is_missing_is_a_file_that_is_not_found(bucket: Bucket) -> None:
    for call in (storage.read, storage.open_binary, storage.sha256):
        with pytest.raises(FileNotFoundError, match="there is no such object") as caught:
            call(f"{bucket.url}/missing")
        assert not isinstance(caught.value, StoreError)
        assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, f"{bucket.url}/missing")
    with pytest.raises(UserError, match=rf"Cannot read {bucket.url}/missing: .*no such object"):
        storage.open_file(f"{bucket.url}/missing").__enter__()


def test_opens_an_empty_object(bucket: Bucket) -> None:
    bucket.put("empty", content=b"")
    with storage.open_binary(f"{bucket.url}/empty") as file:
        assert (file.read(), file.seek(0, os.SEEK_END), file.read(1)) == (b"", 0, b"")
        assert (file.seek(5), file.read(1)) == (5, b"")
    assert storage.read(f"{bucket.url}/empty") == b""


_CONTENT = random.Random(3).randbytes(700_001)


@pytest.mark.parametrize("length", [None, 1, 1 << 16, (1 << 16) + 1])
def test_reads_in_blocks_that_grow(bucket: Bucket, length: int | None) -> None:
    content = _CONTENT[:length]
    bucket.put("a", content=content)
    bucket.server.requests()
    with storage.open_binary(f"{bucket.url}/a") as file:
        assert b"".join(iter(lambda: file.read(5000), b"")) == content
        # 64, 128, 256 and 512 KB.
        assert bucket.server.requests() == {"GET": 4 if length is None else 1 + (length > 1 << 16)}
    with storage.open_binary(f"{bucket.url}/a") as file:
        assert file.read() == content
    assert bucket.server.requests()["GET"] <= 5


def test_a_record_from_the_middle_is_a_short_request(bucket: Bucket) -> None:
    bucket.put("a", content=_CONTENT)
    with storage.open_binary(f"{bucket.url}/a") as file:
        assert file.seekable() and file.readable() and not file.writable()
        bucket.server.requests()
        assert file.seek(-1000, os.SEEK_END) == len(_CONTENT) - 1000
        assert file.read() == _CONTENT[-1000:]
        assert file.seek(300_000) == 300_000
        assert file.read(10) == _CONTENT[300_000:300_010]
        assert file.seek(-5, os.SEEK_CUR) == file.tell() == 300_005
        assert file.read(10) == _CONTENT[300_005:300_015]
    assert bucket.server.requests() == {"GET": 2}


@_PROPERTY
@given(reads=st.lists(st.tuples(st.integers(0, 710_000), st.integers(0, 200_000)), max_size=8))
def test_reads_at_any_place_equal_slices(bucket: Bucket, reads: list[tuple[int, int]]) -> None:
    bucket.put("a", content=_CONTENT)
    with storage.open_binary(f"{bucket.url}/a") as file:
        for start, length in reads:
            file.seek(start)
            assert file.read(length) == _CONTENT[start : start + length]


def test_an_object_that_is_replaced_while_it_is_read_is_an_error(bucket: Bucket) -> None:
    bucket.put("a", content=_CONTENT)
    with storage.open_binary(f"{bucket.url}/a") as file:
        assert file.read(10) == _CONTENT[:10]
        bucket.put("a", content=_CONTENT[::-1])
        with pytest.raises(StoreError, match="the object was replaced while it was read") as caught:
            file.read()
    assert (caught.value.errno, caught.value.filename) == (errno.ESTALE, f"{bucket.url}/a")


def test_an_object_that_is_deleted_while_it_is_read_is_an_error(bucket: Bucket) -> None:
    bucket.put("a", content=_CONTENT)
    with storage.open_binary(f"{bucket.url}/a") as file:
        bucket.clear()
        with pytest.raises(FileNotFoundError):
            file.read()


def test_digests(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("a", content=_CONTENT)
    (tmp_path / "a").write_bytes(_CONTENT)
    assert storage.sha256(f"{bucket.url}/a") == storage.sha256(f"{tmp_path}/a")


# Writing.


@pytest.mark.parametrize("size", [0, 3, 20_000_001])
def test_an_object_appears_when_it_is_complete(bucket: Bucket, size: int) -> None:
    content = random.Random(size).randbytes(size)
    with storage.create(f"{bucket.url}/a") as file:
        for start in range(0, size, 3_000_000):
            assert file.write(content[start : start + 3_000_000])
        assert bucket.objects() == {}
    assert bucket.objects() == {"a": content}


@pytest.mark.parametrize("size", [3, 20_000_001])
@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()], ids=lambda error: type(error).__name__)
def test_nothing_appears_after_an_exception(bucket: Bucket, size: int, error: BaseException) -> None:
    bucket.put("a", content=b"old")
    for name in ("a", "b"):
        with pytest.raises(type(error)), storage.create(f"{bucket.url}/{name}") as file:
            file.write(bytes(size))
            raise error
    assert bucket.objects() == {"a": b"old"}


def test_writing_replaces(bucket: Bucket) -> None:
    storage.write(f"{bucket.url}/a", "é")
    storage.write(f"{bucket.url}/a", b"new")
    assert bucket.objects() == {"a": b"new"}


def test_names_are_literal_where_files_are_moved_and_deleted(bucket: Bucket) -> None:
    bucket.put("exp[1]/a", content=b"1")
    bucket.put("exp1/a", content=b"2")
    bucket.put("exp*/a", content=b"3")
    storage.delete(f"{bucket.url}/exp[1]")
    assert bucket.objects() == {"exp1/a": b"2", "exp*/a": b"3"}
    storage.move(f"{bucket.url}/exp*/a", f"{bucket.url}/exp[1]/b")
    assert bucket.objects() == {"exp1/a": b"2", "exp[1]/b": b"3"}
    storage.link([(f"{bucket.url}/exp[1]/b", f"{bucket.url}/exp?/c"), (f"{bucket.url}/exp1/a", f"{bucket.url}/exp?/d")])
    assert bucket.objects() == {"exp1/a": b"2", "exp[1]/b": b"3", "exp?/c": b"3", "exp?/d": b"2"}
    storage.keep_only(f"{bucket.url}/exp?", ["d"])
    storage.keep_only(f"{bucket.url}/exp[1]", [])
    assert bucket.objects() == {"exp1/a": b"2", "exp?/d": b"2"}


def test_delete_takes_an_object_and_a_folder_of_the_same_name_and_nothing_beside_them(bucket: Bucket) -> None:
    bucket.put("a", "a/1", "a/b/2", "ab", "a.txt")
    storage.delete(f"{bucket.url}/a")
    storage.delete(f"{bucket.url}/nothing")
    assert set(bucket.objects()) == {"ab", "a.txt"}


def test_more_objects_than_fit_in_a_request_are_deleted(bucket: Bucket) -> None:
    bucket.put(*(f"a/{number}" for number in range(1100)), "b", content=b"")
    storage.delete(f"{bucket.url}/a")
    assert set(bucket.objects()) == {"b"}


def test_what_is_gone_already_does_not_stop_others_from_being_deleted(bucket: Bucket) -> None:
    bucket.put("a", "b")
    objects.delete([f"{bucket.url}/{name}" for name in ("gone", "a", "gone too", "b")])
    assert bucket.objects() == {}


def test_moving_to_the_same_name_keeps_it(bucket: Bucket) -> None:
    bucket.put("a")
    storage.move(f"{bucket.url}/a", f"{bucket.url}/a")
    assert bucket.objects() == {"a": b"image"}


def test_copying_what_is_missing_is_an_error(bucket: Bucket) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        storage.link([(f"{bucket.url}/missing", f"{bucket.url}/b")])


def test_folders_need_not_be_made(bucket: Bucket) -> None:
    storage.make_folder(f"{bucket.url}/a/b")
    assert bucket.objects() == {}


# Patterns.

_FILES = [
    "a.csv",
    "b.csv",
    "labels1.csv",
    "labels[1].csv",
    "deep/c.csv",
    "deep/er/c.csv",
    ".hidden.csv",
    ".folder/d.csv",
    "^.csv",
    "x",
]
_PATTERNS = [
    "*.csv",
    "?.csv",
    "[ab].csv",
    "[a-b].csv",
    "[!a].csv",
    "[^a].csv",
    "[z-a].csv",
    "labels[1].csv",
    "labels[[]1].csv",
    "**/c.csv",
    "**/*.csv",
    "**",
    "deep/**",
    "*/c.csv",
    "deep[!x]c.csv",
    "d*c.csv",
    "**/**/c.csv",
    ".*.csv",
    ".*/*",
    "[",
    "[]",
    "*/",
    "none/*.csv",
    "a[b",
]


@pytest.mark.parametrize("pattern", _PATTERNS)
def test_patterns_match_what_they_match_on_this_machine(bucket: Bucket, tmp_path: Path, pattern: str) -> None:
    for name in _FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    bucket.put(*(f"a/{name}" for name in _FILES), "ab/a.csv")
    folder = f"{bucket.url}/a"
    here = [storage.relative(path, str(tmp_path)) for path in storage.match(f"{tmp_path}/{pattern}")]
    assert [storage.relative(path, folder) for path in storage.match(f"{folder}/{pattern}")] == here


@_PROPERTY
@given(pattern=st.text("ab./*?[]!-^", min_size=1, max_size=8), name=st.text("ab.-^/", min_size=1, max_size=5))
def test_patterns_match_any_names_as_on_this_machine(pattern: str, name: str) -> None:
    names, parts = name.split("/"), pattern.split("/")
    if {"", ".", ".."} & {*names, *parts}:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        assert listing._matches(names, parts) == (str(path) in local.match(f"{folder}/{pattern}"))


def test_a_whole_bucket_can_be_matched_and_its_name_cannot_be_a_pattern(bucket: Bucket) -> None:
    bucket.put("a.csv", "b/c.csv")
    assert storage.match(f"{bucket.url}/*.csv") == [f"{bucket.url}/a.csv"]
    assert storage.match(f"{bucket.url}/**/*.csv") == [f"{bucket.url}/a.csv", f"{bucket.url}/b/c.csv"]
    assert storage.match(f"{bucket.url}/missing.csv") == [f"{bucket.url}/missing.csv"]
    for pattern in (f"{bucket.url}*/a.csv", f"{bucket.url[:5]}*", f"{bucket.url}[1]/a.csv"):
        with pytest.raises(UserError, match="The name of a bucket cannot be a pattern"):
            storage.match(pattern)


# Compare and swap.


def test_a_version_is_replaced_by_the_one_who_knows_it(bucket: Bucket) -> None:
    path = f"{bucket.url}/claim"
    assert objects.read_version(path) is None
    first = objects.replace_version(path, b"1", None)
    assert first
    assert objects.read_version(path) == (b"1", first)
    assert objects.replace_version(path, b"2", None) is None
    second = objects.replace_version(path, b"2", first)
    assert second
    assert objects.replace_version(path, b"3", first) is None
    assert objects.read_version(path) == (b"2", second)
    bucket.clear()
    assert objects.replace_version(path, b"3", second) is None
    assert bucket.objects() == {}


def test_one_of_many_who_replace_a_version_at_a_time_succeeds(bucket: Bucket) -> None:
    path = f"{bucket.url}/claim"
    version = None
    for turn in range(3):
        with storage.in_parallel(path) as executor:
            contents = [f"{turn} {number}".encode() for number in range(16)]
            made = list(executor.map(objects.replace_version, [path] * 16, contents, [version] * 16))
        (winner,) = (number for number, one in enumerate(made) if one)
        assert bucket.objects() == {"claim": contents[winner]}
        version = made[winner]


@pytest.mark.parametrize("kind", buckets.KINDS)
@pytest.mark.usefixtures("impatient")
def test_a_version_is_replaced_though_the_answer_is_lost(bucket: Bucket, kind: str) -> None:
    path = f"{bucket.url}/claim"
    bucket.server.fail(Fault("PUT", kind))
    version = objects.replace_version(path, b"1", None)
    assert version
    bucket.server.fail(Fault("PUT", kind))
    assert objects.replace_version(path, b"2", version)
    assert bucket.objects() == {"claim": b"2"}


# Failures.


def _is_sentence(error: OSError, url: str) -> None:
    """Checks that an error is one line about a URL, and not what the client says of its own state."""
    assert error.filename == url
    text = error.strerror
    assert text
    assert "\n" not in text
    for word in ("Debug", "source:", "{", "Generic", "Error performing", "retry", "<Error>", "<Code>", "reqwest"):
        assert word not in text, text
    assert len(text) < 300


_CALLS: dict[str, Callable[[str], Any]] = {
    "read": storage.read,
    "open": lambda url: storage.open_binary(url).read(),
    "size": storage.size,
    "list": lambda url: list(storage.list_files(url)),
    "folders": listing.list_folders,
    "write": lambda url: storage.write(url, b"new"),
    "copy": lambda url: storage.link([(url, f"{url}2")]),
    "delete": lambda url: objects.delete([url]),
    "claim": lambda url: objects.replace_version(url, b"new", None),
    "version": objects.read_version,
}


@pytest.mark.parametrize("call", _CALLS)
@pytest.mark.parametrize(
    "fault",
    [
        Fault(".", status=503, times=2),
        pytest.param(Fault(".", status=500), marks=pytest.mark.slow),
        Fault(".", status=429),
        Fault(".", "refuse", times=2),
        Fault(".", "cut", times=2),
        pytest.param(Fault(".", "stall"), marks=pytest.mark.slow),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
@pytest.mark.usefixtures("impatient")
def test_what_fails_for_a_moment_is_made_again(bucket: Bucket, call: str, fault: Fault) -> None:
    url = f"{bucket.url}/a/1"
    bucket.put(*([] if call == "claim" else ["a/1", "a/1/x", "a/1/y/z"]), content=_CONTENT[:200_000])
    expected = {
        "read": _CONTENT[:200_000],
        "open": _CONTENT[:200_000],
        "size": 200_000,
        "folders": ["y"],
    }
    bucket.server.fail(fault)
    found = _CALLS[call](url)
    bucket.server.fail()
    assert found == expected.get(call, found)
    if call == "list":
        assert [file.name for file in found] == ["x", "y/z"]
    if call in ("write", "claim"):
        assert bucket.objects()["a/1"] == b"new"
    if call == "copy":
        assert bucket.objects()["a/12"] == _CONTENT[:200_000]
    if call == "delete":
        assert "a/1" not in bucket.objects()


@pytest.mark.parametrize("kind", buckets.KINDS)
@pytest.mark.usefixtures("impatient")
def test_a_listing_goes_on_where_it_broke(bucket: Bucket, kind: str) -> None:
    names = [f"{number:04}" for number in range(2500)]
    bucket.put(*(f"a/{name}" for name in names), content=b"")
    bucket.server.fail(Fault("list-type", kind, skip=1), Fault("list-type", kind, skip=2))
    bucket.server.requests()
    assert [file.name for file in storage.list_files(f"{bucket.url}/a")] == names
    assert bucket.server.requests() == {"LIST": 5}


@pytest.mark.parametrize("kind", buckets.KINDS)
@pytest.mark.usefixtures("impatient")
def test_blocks_of_a_long_object_are_sent_again(bucket: Bucket, kind: str) -> None:
    content = random.Random(1).randbytes(20_000_001)
    bucket.server.fail(Fault("partNumber=[12]", kind, times=2), Fault("POST.*uploadId", "status"))
    with storage.create(f"{bucket.url}/a") as file:
        file.write(content)
    assert bucket.objects() == {"a": content}


@pytest.mark.usefixtures("impatient")
def test_blocks_of_a_long_object_are_asked_for_again(bucket: Bucket) -> None:
    bucket.put("a", content=_CONTENT)
    bucket.server.fail(*(Fault("GET", kind, skip=skip) for skip, kind in enumerate(["cut", "stall", "refuse"])))
    with storage.open_binary(f"{bucket.url}/a") as file:
        assert file.read() == _CONTENT


@pytest.mark.parametrize("call", _CALLS)
@pytest.mark.parametrize("status", [400, 401, 403])
def test_what_is_refused_is_one_sentence_at_once(bucket: Bucket, call: str, status: int) -> None:
    url = f"{bucket.url}/a/1"
    bucket.put("a/1")
    bucket.server.fail(Fault(".", status=status, times=100))
    bucket.server.requests()
    begin = time.monotonic()
    words = "does not answer as it should" if status == 400 else "refuses access"
    with pytest.raises(StoreError, match=words) as caught:
        _CALLS[call](url)
    assert time.monotonic() - begin < 2
    assert bucket.server.requests().total() == 1
    _is_sentence(caught.value, url)
    assert caught.value.errno == (errno.EIO if status == 400 else errno.EACCES)
    # The answer to HEAD has no body.
    assert call == "size" or "the request fails as it was told to" in str(caught.value)


@pytest.mark.parametrize("call", _CALLS)
@pytest.mark.parametrize("kind", ["status", "cut", "refuse"])
@pytest.mark.usefixtures("impatient")
def test_what_fails_again_and_again_is_one_sentence(bucket: Bucket, call: str, kind: str) -> None:
    url = f"{bucket.url}/a/1"
    bucket.put("a/1")
    bucket.server.fail(Fault(".", kind, times=1000))
    try:
        _CALLS[call](url)
    except StoreError as error:
        _is_sentence(error, url)
    else:
        # These answers have no body, of which something could be cut off.
        assert kind == "cut" and call in ("size", "write", "delete", "copy", "claim")


@pytest.mark.usefixtures("impatient")
def test_a_store_that_never_answers_is_one_sentence(bucket: Bucket) -> None:
    bucket.server.fail(Fault(".", "stall", times=1000))
    with pytest.raises(StoreError, match=r"no answer in time from http://127\.0\.0\.1") as caught:
        storage.read(f"{bucket.url}/a")
    _is_sentence(caught.value, f"{bucket.url}/a")


@pytest.mark.parametrize("call", _CALLS)
@pytest.mark.usefixtures("impatient")
def test_a_wrong_end_point_is_one_sentence(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    nobody = "http://127.0.0.1:1"
    monkeypatch.setenv("AWS_ENDPOINT_URL", nobody)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", nobody)
    begin = time.monotonic()
    with pytest.raises(StoreError, match=f"no answer from {nobody}: ") as caught:
        _CALLS[call](f"{bucket.url}/a")
    assert time.monotonic() - begin < 5
    _is_sentence(caught.value, f"{bucket.url}/a")


# Connections.


@pytest.mark.parametrize("start", ["", "http://"])
@pytest.mark.parametrize("end", ["", "/"])
def test_the_emulator_of_googles_store_is_found(
    server: Server, monkeypatch: pytest.MonkeyPatch, start: str, end: str
) -> None:
    buckets.use(server, monkeypatch)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"{start}127.0.0.1:{server.port}{end}")
    server.put("emulated", {"a": b"image"})
    assert storage.read("gs://emulated/a") == b"image"
    assert [file.path for file in storage.list_files("gs://emulated")] == ["gs://emulated/a"]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """A machine that knows no store: without variables, logins and commands, and that is in no cloud."""
    buckets.forget()
    for name in os.environ:
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_", "STORAGE_", "GCE_", "IDENTITY_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))

    def not_found(address: tuple[str, int], timeout: float) -> None:
        raise TimeoutError(f"{address} does not answer for {timeout} seconds")

    monkeypatch.setattr(socket, "create_connection", not_found)
    monkeypatch.setattr(connections, "_has_boto3", lambda: False)
    yield monkeypatch
    buckets.forget()


@pytest.mark.parametrize(("scheme", "todo"), [("gs", "gcloud auth"), ("s3", "AWS_ACCESS_KEY_ID"), ("az", "az login")])
def test_without_credentials_there_is_a_sentence_at_once(bare: pytest.MonkeyPatch, scheme: str, todo: str) -> None:
    bare.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    storage.check(f"{scheme}://bucket/a")
    for call in (storage.read, storage.exists, lambda url: list(storage.list_files(url))):
        with pytest.raises(UserError, match=f"^There are no credentials for {scheme}://.*{todo}"):
            call(f"{scheme}://bucket/a")


@pytest.mark.parametrize(
    ("url", "variables", "sentence"),
    [
        ("ftp://bucket/a", {}, r"There is no client for ftp:// here\. Stores are gs://, s3://, az://"),
        ("s3:///a", {}, "s3:// must be followed by the name of a bucket"),
        ("s3://my bucket/a", {}, "No bucket has this name: s3://'my bucket'"),
        ("az://c/a", {}, "For az://c, set AZURE_STORAGE_ACCOUNT_NAME to the name of the storage account"),
        (
            "az://c/a",
            {"AZURE_STORAGE_ACCOUNT": "x", "AZURE_STORAGE_ACCOUNT_KEY": "no base64!"},
            "az://c cannot be used: .*Access Key",
        ),
        ("gs://b/a", {"GOOGLE_APPLICATION_CREDENTIALS": "/no/such.json"}, "gs://b cannot be used: .*/no/such.json"),
        ("s3://b/a", {"AWS_ACCESS_KEY_ID": "a"}, "s3://b cannot be used: .*Missing SecretAccessKey"),
        (
            "s3://b/a",
            {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL": "localhost:9000"},
            "AWS_ENDPOINT_URL must start with http:// or https://. Received: localhost:9000",
        ),
    ],
)
def test_what_cannot_be_used_is_a_sentence(
    bare: pytest.MonkeyPatch, url: str, variables: dict[str, str], sentence: str
) -> None:
    for name, value in variables.items():
        bare.setenv(name, value)
    with pytest.raises(UserError, match=f"^{sentence}") as caught:
        storage.check(url)
    assert "\n" not in str(caught.value)


def test_a_profile_needs_boto3(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("AWS_PROFILE", "mine")
    bare.setitem(sys.modules, "boto3", None)
    with pytest.raises(UserError, match=r"AWS_PROFILE names a profile.*pip install 'multihot\[aws\]'"):
        storage.check("s3://bucket/a")
