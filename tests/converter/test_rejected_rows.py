"""Every reason for which a row is rejected, from end to end."""

import csv
import errno
import json
import re
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from converter.job import pipeline
from converter.options import ConvertOptions
from converter.rejects import Reason
from multihot import storage
from multihot.errors import UserError
from schemas import metadata
from schemas.metadata import DatasetInfo

Draw = Callable[..., bytes]

# The rows of a CSV with the columns file, sea, desert, part. Those without a reason are good.
_MULTI_HOT: list[tuple[str, Reason | None, str]] = [
    ("good.jpg,1,0,train", None, ""),
    ("folder\\Good.JPG,0,1,train", None, ""),
    ("bad row.jpg,1,0,train,9", Reason.BAD_ROW, "must have 4 cells. Received: 5"),
    (" ,1,0,train", Reason.MISSING_NAME, "the file name is blank"),
    (
        "../secret.jpg,1,0,train",
        Reason.UNSAFE_PATH,
        "the file name must be relative to the folder of images: no '..', no drive, no address",
    ),
    ("link.jpg,1,0,train", Reason.UNSAFE_PATH, "a symbolic link that leads out of the folder of images"),
    ("good.jpg,1,2,train", Reason.BAD_LABEL, "column 'desert': must be 0 or 1. Received: '2'"),
    (
        "other.jpg,1,0,my-split",
        Reason.BAD_SPLIT,
        "column 'part': must be a letter, then letters, digits and underscores, and not 'index' or "
        "'made_from'. Received: 'my-split'",
    ),
    (
        "./good.jpg,1,0,train",
        Reason.DUPLICATE_NAME,
        "line 2 says the same; that line was kept",
    ),
    ("missing.jpg,1,0,train", Reason.MISSING_FILE, "no such file in the folder of images"),
    ("good.JPG,1,0,train", Reason.MISSING_FILE, "no such file in the folder of images"),
    ("empty.jpg,1,0,train", Reason.EMPTY_FILE, "the file has 0 bytes"),
    ("unreadable.jpg,1,0,train", Reason.UNREADABLE_FILE, "Input/output error"),
    ("page.jpg,1,0,train", Reason.NOT_AN_IMAGE, "starts with b'<html>'"),
    (
        "scan.jpg,1,0,train",
        Reason.UNSUPPORTED_FORMAT,
        "TIFF is not decoded by TensorFlow: save the image as JPEG or PNG",
    ),
    (
        "huge.png,1,0,train",
        Reason.TOO_LARGE,
        "60000 x 60000, 3600.0 megapixels in all, and --max_megapixels=128 are allowed. Save a smaller image, or raise "
        "the limit",
    ),
    ("cut.jpg,1,0,validation", Reason.CORRUPT_IMAGE, "jpeg: "),
    ("other.jpg,1,0,train", Reason.CONFLICTING_ROWS, "line 21 names this file too, and differs in labels and split"),
    ("other.jpg,1,0,train", Reason.CONFLICTING_ROWS, "line 21 names this file too, and differs in labels and split"),
    ("other.jpg,1,1,test", Reason.CONFLICTING_ROWS, "line 19 names this file too, and differs in labels and split"),
]
# The rows of a CSV with the columns file, labels; upper and lower case are the same in it.
_DELIMITED: list[tuple[str, Reason | None, str]] = [
    ("good.jpg,sea", None, ""),
    (
        'other.jpg,"sea,lake"',
        Reason.UNKNOWN_CLASS,
        "column 'labels': must name classes of sea, desert. Received: lake",
    ),
    ("TWICE.jpg,sea", Reason.AMBIGUOUS_NAME, "the folder has 'Twice.jpg' and 'twice.jpg'"),
]


def _with_size(png: bytes, size: int) -> bytes:
    """Returns a PNG whose header says that it is of another size."""
    header = b"IHDR" + size.to_bytes(4) * 2 + png[24:29]
    return png[:12] + header + zlib.crc32(header).to_bytes(4) + png[33:]


class Converted(NamedTuple):
    """A conversion of which most rows are rejected."""

    info: DatasetInfo
    folder: Path
    rows: list[tuple[str, Reason | None, str]]

    @property
    def rejects(self) -> list[dict[str, str]]:
        """The rows of rejects.csv."""
        with (self.folder / "rejects.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, draw: Draw) -> Path:
    """Returns a folder with two CSVs and the images that they name, most of them bad."""
    folder = tmp_path_factory.mktemp("rejects")
    (folder / "multi_hot.csv").write_text("\n".join(["file,sea,desert,part", *(row for row, _, _ in _MULTI_HOT)]))
    (folder / "delimited.csv").write_text("\n".join(["file,labels", *(row for row, _, _ in _DELIMITED)]))
    files = {
        "secret.jpg": draw(9),
        "images/good.jpg": draw(1),
        "images/folder/Good.JPG": draw(2),
        "images/bad row.jpg": draw(3),
        "images/other.jpg": draw(4),
        "images/empty.jpg": b"",
        "images/unreadable.jpg": draw(5),
        "images/page.jpg": b"<html>",
        "images/scan.jpg": draw(6, file_format="TIFF"),
        "images/huge.png": _with_size(draw(file_format="PNG"), 60_000),
        "images/cut.jpg": draw(7)[:-200],
        "images/unlisted.jpg": draw(8),
        "images/twice.jpg": draw(10),
        "images/Twice.jpg": draw(11),
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "images/link.jpg").symlink_to("../secret.jpg")
    return folder


def _options(folder: Path, kind: str, **given: Any) -> ConvertOptions:
    kinds: dict[str, dict[str, Any]] = {
        "multi_hot": {"split_column": "part"},
        "delimited": {
            "classes": ("sea", "desert"),
            "splits": (("train", Fraction(1)),),
            "filename_match": ("ignore_case",),
        },
    }
    paths = {"csv": f"{folder}/{kind}.csv", "images": f"{folder}/images", "output": f"{folder}/out"}
    return ConvertOptions(**{"name": kind, **paths, **kinds[kind], **given})


@pytest.fixture(scope="module", params=["multi_hot", "delimited"])
def converted(request: pytest.FixtureRequest, folder: Path) -> Converted:
    read = storage.read

    def fail(path: str, *most: int) -> bytes:
        if path.endswith("/unreadable.jpg"):
            raise OSError(errno.EIO, "Input/output error", path)
        return read(path, *most)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "read", fail)
        info = pipeline.convert(_options(folder, request.param, max_rejects=Fraction(1)))
    assert info is not None
    rows = {"multi_hot": _MULTI_HOT, "delimited": _DELIMITED}[request.param]
    return Converted(info, folder / "out" / request.param / "1.0.0", rows)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_row_here(reason: Reason) -> None:
    assert reason in {expected for _, expected, _ in [*_MULTI_HOT, *_DELIMITED]}


def test_every_bad_row_is_in_rejects_csv(converted: Converted) -> None:
    expected = [
        (str(line), row.split(",")[0], reason, detail)
        for line, (row, reason, detail) in enumerate(converted.rows, start=2)
        if reason
    ]
    assert len(converted.rejects) == len(expected)
    for reject, (line, name, reason, detail) in zip(converted.rejects, expected, strict=True):
        assert (reject["line"], reject["reason"]) == (line, reason)
        assert reject["filename"] == name.strip().removeprefix("./")
        assert reject["detail"].startswith(detail)
        assert reject["detail"] == detail or reason is Reason.CORRUPT_IMAGE


def test_what_the_decoder_says_is_kept(converted: Converted) -> None:
    for reject in converted.rejects:
        if reject["reason"] == Reason.CORRUPT_IMAGE:
            assert re.fullmatch(r"jpeg: \S.{10,200}", reject["detail"])


def test_every_good_row_is_in_a_shard_and_no_other(
    converted: Converted, folder: Path, read_shards: Callable[..., list[Any]]
) -> None:
    stored = {
        one.filename: one.image
        for split in converted.info.splits
        for one in read_shards(converted.folder, converted.info, split.name)
    }
    good = [row.split(",")[0].replace("\\", "/") for row, reason, _ in converted.rows if not reason]
    assert stored == {name: (folder / "images" / name).read_bytes() for name in good}


def test_the_manifest_counts_the_reasons(converted: Converted) -> None:
    reasons = sorted(reason.value for _, reason, _ in converted.rows if reason)
    assert converted.info.rejects == {reason: reasons.count(reason) for reason in reasons}
    assert converted.info.num_examples + len(reasons) == len(converted.rows)
    assert metadata.load(str(converted.folder)) == converted.info


def test_a_split_of_which_all_images_are_bad_leaves_no_folder(converted: Converted) -> None:
    folders = {path.name for path in converted.folder.iterdir() if path.is_dir()}
    assert folders == {"train", "index", "made_from"}
    assert [path.name for path in (converted.folder / "index").iterdir()] == ["train"]


def test_with_too_many_rejects_nothing_is_published(folder: Path) -> None:
    options = _options(folder, "multi_hot", name="too_many", max_rejects=Fraction(1, 2))
    with pytest.raises(UserError) as caught:
        pipeline.convert(options)
    message = str(caught.value).splitlines()
    assert message[0] == "17 of 20 rows were rejected; at most 10 may be (--max_rejects=0.5)."
    assert f"        1 duplicate_name: {options.csv} line 10, 'good.jpg': line 2 says the same" in "\n".join(message)
    assert message[-1] == f"All of them: {options.incomplete}/rejects.csv"
    assert {path.name for path in (folder / "out/too_many").iterdir()} == {"1.0.0.incomplete"}
    assert {path.name for path in Path(options.incomplete).iterdir() if path.is_file()} == {
        "rejects.csv",
        "unlisted.csv",
        "failure.json",
        "claim.json",
    }
    with (Path(options.incomplete) / "rejects.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 17
    assert json.loads(Path(options.incomplete, "failure.json").read_text()) == {"message": str(caught.value)}
    with pytest.raises(UserError, match="is not a dataset yet"):
        metadata.load(options.dataset)


@pytest.mark.parametrize(("max_rejects", "published"), [(17, True), (16, False), (0, False)])
def test_max_rejects_as_a_count(folder: Path, tmp_path: Path, max_rejects: int, published: bool) -> None:
    options = _options(folder, "multi_hot", output=str(tmp_path), max_rejects=max_rejects)
    if published:
        pipeline.convert(options)
    else:
        with pytest.raises(UserError, match=rf"17 of 20 rows were rejected; at most {max_rejects} may be"):
            pipeline.convert(options)
    assert Path(options.dataset).exists() == published


def test_nothing_is_published_when_nothing_is_left(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,sea,desert\nmissing.jpg,1,0\n")
    options = _options(
        folder,
        "multi_hot",
        csv=f"{tmp_path}/labels.csv",
        output=f"{tmp_path}/out",
        split_column="",
        max_rejects=Fraction(1),
    )
    with pytest.raises(UserError, match=r"^1 of 1 rows were rejected; no image is left\."):
        pipeline.convert(options)
    assert not Path(options.dataset).exists()


def test_the_wrong_folder_of_images_is_suspected(folder: Path, tmp_path: Path, draw: Draw) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/unrelated.jpg").write_bytes(draw())
    options = _options(folder, "delimited", images=f"{tmp_path}/images", output=f"{tmp_path}/out")
    with pytest.raises(UserError, match=r"holds 1 files that no row names, such as 'unrelated\.jpg'"):
        pipeline.convert(options)
