"""Files appear whole or not at all, and a listing says what is inside the folder of images."""

import inspect
import os
import socket
import sys
import tempfile
import tracemalloc
import unicodedata
from pathlib import Path

import pytest

from multihot import storage
from multihot.storage import File


def _tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _put(folder: Path, *names: str, content: bytes = b"image") -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_create_makes_the_folders_and_the_whole_file(tmp_path: Path) -> None:
    with storage.create(f"{tmp_path}/a/b/c.bin") as file:
        file.write(b"one")
        assert not (tmp_path / "a/b/c.bin").exists()
        file.write(b"two")
    assert _tree(tmp_path) == {"a/b/c.bin": b"onetwo"}


def test_create_makes_no_folder_where_the_one_above_is_gone(tmp_path: Path) -> None:
    top = tmp_path / "top"
    for path in (top / "a/b/c.bin", top / "c.bin"):
        with pytest.raises(FileNotFoundError):
            storage.write(str(path), b"new", below=str(top))
    assert not top.exists()
    top.mkdir()
    for path in (top / "a/b/c.bin", top / "c.bin"):
        storage.write(str(path), b"new", below=str(top))
    storage.link([(f"{top}/c.bin", f"{top}/d/e.bin")], below=str(top))
    assert _tree(top) == dict.fromkeys(("a/b/c.bin", "c.bin", "d/e.bin"), b"new")


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(1)], ids=lambda e: type(e).__name__)
def test_create_leaves_nothing_after_an_exception(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), storage.create(f"{tmp_path}/a.bin") as file:
        file.write(b"half")
        raise error
    assert _tree(tmp_path) == {}


def test_create_leaves_what_was_there_after_an_exception(tmp_path: Path) -> None:
    _put(tmp_path, "a.bin", content=b"old")
    with pytest.raises(ZeroDivisionError), storage.create(f"{tmp_path}/a.bin") as file:
        file.write(b"half")
        _ = 1 / 0
    assert _tree(tmp_path) == {"a.bin": b"old"}


def test_create_replaces_what_was_there(tmp_path: Path) -> None:
    _put(tmp_path, "a.bin", content=b"old")
    storage.write(f"{tmp_path}/a.bin", b"new")
    assert _tree(tmp_path) == {"a.bin": b"new"}


def test_an_error_without_a_name_gets_that_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No space left.*a\.bin"), storage.create(f"{tmp_path}/a.bin"):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("name", ["a.gz", "a.bz2", "a.tfrecord.gz"])
def test_no_ending_means_compression(tmp_path: Path, name: str) -> None:
    path = f"{tmp_path}/{name}"
    storage.write(path, "plain é")
    assert Path(path).read_bytes() == storage.read(path) == "plain é".encode()


def test_lists_files_in_all_folders_with_their_sizes(tmp_path: Path) -> None:
    _put(tmp_path, "1.jpg", "a/2.jpg", "a/b/3.JPG")
    _put(tmp_path, "a/empty.jpg", content=b"")
    (tmp_path / "nothing").mkdir()
    for path in tmp_path.rglob("*.*"):
        os.utime(path, ns=(1, 17))
    assert sorted(storage.list_files(str(tmp_path))) == [
        File("1.jpg", f"{tmp_path}/1.jpg", 5, 17),
        File("a/2.jpg", f"{tmp_path}/a/2.jpg", 5, 17),
        File("a/b/3.JPG", f"{tmp_path}/a/b/3.JPG", 5, 17),
        File("a/empty.jpg", f"{tmp_path}/a/empty.jpg", 0, 17),
    ]


@pytest.mark.parametrize(
    "name",
    ["with space.jpg", "[1].jpg", "*.jpg", "a?.jpg", "{x}.jpg", "바다.jpg", ".hidden.jpg", "-n", "a\\b.jpg", "%20.jpg"],
)
def test_lists_and_reads_names_of_all_kinds(tmp_path: Path, name: str) -> None:
    _put(tmp_path, name)
    (file,) = storage.list_files(str(tmp_path))
    assert file.name == name
    assert storage.read(file.path) == b"image"


def test_names_and_paths_are_as_they_are(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "été.jpg")
    _put(tmp_path, decomposed)
    (file,) = storage.list_files(str(tmp_path))
    assert (file.name, file.path) == (decomposed, f"{tmp_path}/{decomposed}")


@pytest.mark.parametrize("ending", ["", "/"])
def test_a_slash_at_the_end_of_the_folder_does_not_matter(tmp_path: Path, ending: str) -> None:
    _put(tmp_path, "a/1.jpg")
    assert [file.name for file in storage.list_files(f"{tmp_path}{ending}")] == ["a/1.jpg"]


def test_names_that_are_not_utf_8_are_listed_so_that_they_can_be_written_down(tmp_path: Path) -> None:
    _put(tmp_path, "1.jpg")
    try:
        folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xfe"))
        folder.mkdir()
        (folder / os.fsdecode(b"\xff.jpg")).write_bytes(b"image")
    except OSError:
        pytest.skip("this file system knows no such names")
    found = sorted(storage.list_files(str(tmp_path)))
    assert [file.name.encode() for file in found] == [b"1.jpg", rb"\udcfe/\udcff.jpg"]


@pytest.mark.parametrize(
    ("path", "folder", "relative"),
    [
        ("a/b/c", "a", "b/c"),
        ("./a/b/", "a//", "b"),
        ("a", "a", ""),
        ("ab", "a", None),
        ("a", "a/b", None),
        ("a/../b", "a", None),
        ("link/b", "a", "b"),
        ("a/b", "link", "b"),
        ("/etc", "/", "etc"),
        ("gs://a/b/c", "gs://a/b/", "c"),
        ("gs://a/bc", "gs://a/b", None),
        ("a", "gs://a", None),
    ],
)
def test_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, folder: str, relative: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to("a")
    assert storage.relative(path, folder) == relative


def test_symbolic_links_are_followed_inside_the_folder_and_flagged_when_they_lead_out(tmp_path: Path) -> None:
    images = tmp_path / "images"
    _put(tmp_path, "secret.jpg", "images-of-others/1.jpg", "images/a/1.jpg")
    (images / "inside.jpg").symlink_to(images / "a/1.jpg")
    (images / "relative.jpg").symlink_to("a/1.jpg")
    (images / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    (images / "a/up.jpg").symlink_to("../../secret.jpg")
    (images / "like.jpg").symlink_to(tmp_path / "images-of-others/1.jpg")
    (images / "chain.jpg").symlink_to("out.jpg")
    (images / "dangling.jpg").symlink_to("nowhere.jpg")
    found = {file.name: file.inside for file in storage.list_files(str(images))}
    assert found == {
        "a/1.jpg": True,
        "inside.jpg": True,
        "relative.jpg": True,
        "out.jpg": False,
        "a/up.jpg": False,
        "like.jpg": False,
        "chain.jpg": False,
    }


def test_the_folder_itself_may_be_a_symbolic_link(tmp_path: Path) -> None:
    _put(tmp_path, "images/1.jpg")
    (tmp_path / "images/2.jpg").symlink_to(tmp_path / "images/1.jpg")
    (tmp_path / "link").symlink_to("images")
    found = sorted(storage.list_files(f"{tmp_path}/link"))
    assert [(file.name, file.inside) for file in found] == [("1.jpg", True), ("2.jpg", True)]


def test_a_circle_of_links_to_folders_ends(tmp_path: Path) -> None:
    _put(tmp_path, "a/1.jpg")
    (tmp_path / "a/again").symlink_to(tmp_path)
    assert [file.name for file in storage.list_files(str(tmp_path))] == ["a/1.jpg"]


def test_only_files_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _put(tmp_path, "1.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # The name of a socket must be short.
        listener.bind("socket.jpg")
        (tmp_path / "device.jpg").symlink_to("/dev/zero")
        (tmp_path / "self.jpg").symlink_to("self.jpg")
        (tmp_path / "a.jpg").symlink_to("b.jpg")
        (tmp_path / "b.jpg").symlink_to("a.jpg")
        assert [file.name for file in storage.list_files(str(tmp_path))] == ["1.jpg"]


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    os.write(writer, b"image")
    for path in (pipe, "/dev/zero"):
        with pytest.raises(OSError, match="is no file"):
            storage.read(str(path), 1)
    os.close(writer)
    # Of a pipe without a writer, opening would block.
    with pytest.raises(OSError, match="is no file"):
        storage.read(str(pipe))
    with pytest.raises(IsADirectoryError):
        storage.read(str(tmp_path))


def test_folders_can_be_nested_deeper_than_calls(tmp_path: Path) -> None:
    _put(tmp_path, "x/" * 100 + "1.jpg")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 60)
    try:
        found = [file.name for file in storage.list_files(str(tmp_path))]
    finally:
        sys.setrecursionlimit(limit)
    assert found == ["x/" * 100 + "1.jpg"]


def test_a_folder_that_cannot_be_read_is_an_error_that_names_it() -> None:
    with tempfile.TemporaryDirectory() as folder:
        _put(Path(folder), "closed/1.jpg")
        Path(folder).chmod(0o755)
        (Path(folder) / "closed").chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # Root may read everything.
        try:
            with pytest.raises(PermissionError, match="closed"):
                list(storage.list_files(folder))
        finally:
            os.seteuid(user)
            (Path(folder) / "closed").chmod(0o755)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.csv", ["a.csv", "b.csv", "labels1.csv", "labels[1].csv"]),
        ("?.csv", ["a.csv", "b.csv"]),
        ("[b-c].csv", ["b.csv"]),
        ("labels[1].csv", ["labels[1].csv"]),
        ("labels[12].csv", ["labels1.csv"]),
        ("**/c.csv", ["deep/c.csv"]),
        ("*.parquet", []),
        ("no/*.csv", []),
        ("missing.csv", ["missing.csv"]),
    ],
)
def test_patterns(tmp_path: Path, pattern: str, names: list[str]) -> None:
    _put(tmp_path, "b.csv", "a.csv", "labels[1].csv", "labels1.csv", "deep/c.csv", ".hidden.csv", "folder.csv/x")
    assert storage.match(f"{tmp_path}/{pattern}") == [f"{tmp_path}/{name}" for name in names]


@pytest.mark.parametrize("name", ["file", "folder", "nothing"])
def test_delete_takes_files_and_folders_and_what_is_not_there(tmp_path: Path, name: str) -> None:
    _put(tmp_path, "file", "folder/a/b", "other")
    storage.delete(f"{tmp_path}/{name}")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder", "other"} - {name}


@pytest.mark.parametrize(
    ("path", "local"), [("a/b", True), ("/a", True), ("gs://bucket/a", False), ("s3://bucket", False)]
)
def test_what_is_local(path: str, local: bool) -> None:
    assert storage.is_local(path) == local


def test_no_more_is_read_than_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(40_000_000_000)  # Of which the disk holds nothing.
    tracemalloc.start()
    with pytest.raises(storage.FileTooLargeError, match="the file has more than the 5 MB that are allowed"):
        storage.read(str(path), 5_000_000)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_a_file_of_as_many_bytes_as_are_allowed_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert storage.read(f"{tmp_path}/a", 5) == b"12345"
    with pytest.raises(storage.FileTooLargeError):
        storage.read(f"{tmp_path}/a", 4)
