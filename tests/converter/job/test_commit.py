"""The last step publishes a dataset, or says why not: called directly, with what no run should ever give it."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from converter.job.commit import FAILURE, commit, read_failure
from converter.job.results import ConversionResult
from converter.options import ConvertOptions
from converter.rejects import Reason, Reject
from converter.shards import writing
from converter.shards.writing import ShardResult, Source
from converter.table.row import Row
from converter.verify import dataset_checks
from multihot import storage
from multihot.images import prove
from schemas import metadata

Draw = Callable[..., bytes]

_AS_IT_IS = prove.Preparation(max_pixels=10**6)
_CLASSES = ("sea", "desert")


@pytest.fixture
def options(tmp_path: Path, images: Path) -> ConvertOptions:
    return ConvertOptions(
        csv=f"{tmp_path}/labels.csv", images=str(images), output=f"{tmp_path}/out", max_rejects=Fraction(1)
    )


@pytest.fixture
def write(options: ConvertOptions, draw: Draw) -> Callable[..., ShardResult]:
    """Returns the function that writes a shard: of the images of these names, of which those in `bad` are none."""

    def write_shard(names: str, *, bad: str = "", **given: Any) -> ShardResult:
        sources = []
        for name in names:
            path = Path(options.images, name)
            path.write_bytes(b"text" if name in bad else draw(ord(name)))
            row = Row("a.csv", ord(name), name, labels=b"\1\0", split="train", group=name)
            sources.append(Source(row, storage.File(name, str(path), path.stat().st_size)))
        where = {"split": "train", "index": 0, "num_shards": 1, **given}
        where["preparation"] = _AS_IT_IS
        storage.make_folder(options.incomplete)
        return writing.write_shard(
            options.incomplete, published=options.dataset, sources=sources, num_threads=1, **where
        )

    return write_shard


def _tree(folder: str) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


def test_a_folder_without_files_is_called_so(options: ConvertOptions) -> None:
    rejects = [Reject("a.csv", line, f"{line}.jpg", Reason.MISSING_FILE, "no such file") for line in (2, 3)]
    commit(options, _CLASSES, ConversionResult.of(results=[], rejects=rejects, num_rows=2), {})
    assert f"({options.images} holds no file: is it the right folder?)" in (read_failure(options) or "")
    rejects.append(Reject("a.csv", 4, "4.jpg", Reason.BAD_LABEL, "must be 0 or 1"))
    commit(options, _CLASSES, ConversionResult.of(results=[], rejects=rejects, num_rows=3), {})
    assert "is it the right folder?" not in (read_failure(options) or "")


def test_publishes_what_adds_up(options: ConvertOptions, write: Callable[..., ShardResult]) -> None:
    reject = Reject("a.csv", 9, "x", Reason.BAD_LABEL, "why")
    conversion_result = ConversionResult.of(results=[write("abc", bad="b")], rejects=[reject], num_rows=4)
    commit(options, _CLASSES, conversion_result, {"started": "now"})
    info = metadata.load(options.dataset)
    assert (info.num_examples, info.rejects) == (2, {"bad_label": 1, "not_an_image": 1})
    assert read_failure(options) is None
    assert not Path(options.incomplete).exists()
    conversion = json.loads(Path(options.dataset, "conversion.json").read_text())
    assert conversion.pop("finished") > "2026"
    assert conversion == {"started": "now", "shards": {"written": 1, "reused": 0}, "report_failure": ""}


@pytest.mark.parametrize("num_rows", [0, 2, 4, 1000])
def test_refuses_counts_that_do_not_add_up(
    options: ConvertOptions, write: Callable[..., ShardResult], num_rows: int
) -> None:
    conversion_result = ConversionResult.of(results=[write("abc", bad="b")], rejects=[], num_rows=num_rows)
    commit(options, _CLASSES, conversion_result, {})
    assert not Path(options.dataset).exists()
    # Finished files stay for the next run; without a manifest the folder is no dataset.
    assert {name for name in _tree(options.incomplete) if "/" not in name} == {"rejects.csv", "unlisted.csv", FAILURE}
    assert read_failure(options) == (
        f"{num_rows} rows were read, but 2 were written and 1 rejected. Nothing is published, since some would be "
        "missing or doubled. This is a defect of multihot or of the runner."
    )


def test_merged_rows_are_part_of_the_sum(options: ConvertOptions, write: Callable[..., ShardResult]) -> None:
    results = [write("abc", bad="b")]
    commit(options, _CLASSES, ConversionResult.of(results=results, rejects=[], num_rows=9, num_merged=5), {})
    assert "9 rows were read, but 2 were written, 5 merged and 1 rejected." in str(read_failure(options))
    commit(options, _CLASSES, ConversionResult.of(results=results, rejects=[], num_rows=8, num_merged=5), {})
    assert metadata.load(options.dataset).merged_rows == 5


@pytest.mark.parametrize(("num_files", "differing", "published"), [(2, 2, True), (3, 3, False), (3, 0, True)])
def test_refuses_a_table_with_a_row_for_each_label(
    options: ConvertOptions, write: Callable[..., ShardResult], num_files: int, differing: int, published: bool
) -> None:
    detail = "line 1 names this file too, and differs in labels"
    rejects = [Reject("a.csv", i, f"{i // 2}.jpg", Reason.CONFLICTING_ROWS, detail) for i in range(2 * num_files)]
    results, num_rows = [write("abc")], 3 + len(rejects)
    conversion_result = ConversionResult.of(
        results=results, rejects=rejects, num_rows=num_rows, num_differing=differing
    )
    commit(options, _CLASSES, conversion_result, {})
    assert Path(options.dataset).exists() == published
    assert ("--merge_rows makes one image" in str(read_failure(options))) != published


def test_refuses_a_shard_that_came_twice(options: ConvertOptions, write: Callable[..., ShardResult]) -> None:
    result = write("abc")
    commit(options, _CLASSES, ConversionResult.of(results=[result, result], rejects=[], num_rows=3), {})
    assert not Path(options.dataset).exists()
    assert "3 rows were read, but 6 were written" in str(read_failure(options))


def test_an_overwritten_dataset_stays_when_the_new_one_is_refused(
    options: ConvertOptions, write: Callable[..., ShardResult]
) -> None:
    commit(options, _CLASSES, ConversionResult.of(results=[write("abc")], rejects=[], num_rows=3), {})
    before = _tree(options.dataset)
    commit(options, _CLASSES, ConversionResult.of(results=[write("ab")], rejects=[], num_rows=3), {})
    assert _tree(options.dataset) == before
    assert metadata.load(options.dataset).num_examples == 3


def test_shards_that_came_out_empty_leave_no_gap(options: ConvertOptions, write: Callable[..., ShardResult]) -> None:
    results = [
        write("ab", index=0, num_shards=4),
        write("c", bad="c", index=1, num_shards=4),
        write("d", index=3, num_shards=4),
    ]
    commit(options, _CLASSES, ConversionResult.of(results=reversed(results), rejects=[], num_rows=4), {})
    (split,) = metadata.load(options.dataset).splits
    assert [(shard.path, shard.num_examples) for shard in split.shards] == [
        ("train/train-00000-of-00002.tfrecord", 2),
        ("train/train-00001-of-00002.tfrecord", 1),
    ]
    assert {name for name in _tree(options.dataset) if "train" in name and "made_from" not in name} == {
        "train/train-00000-of-00002.tfrecord",
        "train/train-00001-of-00002.tfrecord",
        "index/train/train-00000-of-00002.tfindex",
        "index/train/train-00001-of-00002.tfindex",
    }
    assert [s.sha256 for s in split.shards] == [r.shard.sha256 for r in results if r.shard]


def test_interrupted_while_it_numbers_shards_it_can_be_done_again(
    options: ConvertOptions, write: Callable[..., ShardResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = [write("a", bad="a", index=0, num_shards=3)]
    results += [write(name, index=i, num_shards=3) for i, name in ((1, "b"), (2, "c"))]
    conversion_result = ConversionResult.of(results=results, rejects=[], num_rows=3)
    move, moved = storage.move, []

    def failing(source: str, target: str) -> None:
        move(source, target)
        if "-of-00003" in source:
            moved.append(target)
            if len(moved) == 3:
                raise OSError("the machine is gone")

    monkeypatch.setattr(storage, "move", failing)
    with pytest.raises(OSError, match="the machine is gone"):
        commit(options, _CLASSES, conversion_result, {})
    monkeypatch.undo()
    commit(options, _CLASSES, conversion_result, {})
    info = metadata.load(options.dataset)
    assert list(dataset_checks.verify(options.dataset, info)) == []
    assert info.num_examples == 2


def test_results_and_rejects_come_in_any_order(options: ConvertOptions, write: Callable[..., ShardResult]) -> None:
    results = [write("ab", index=0, num_shards=2), write("cd", bad="c", index=1, num_shards=2)]
    rejects = [Reject("a.csv", line, "x", Reason.BAD_LABEL, "") for line in (7, 200, 30)]
    conversion_result = ConversionResult.of(results=results, rejects=rejects, num_rows=7)
    again = ConversionResult.of(results=results[::-1], rejects=rejects[::-1], num_rows=7)
    assert (again.results, list(again.rejects)) == (conversion_result.results, list(conversion_result.rejects))
    assert [reject.line for reject in conversion_result.rejects] == [7, 30, ord("c"), 200]
    assert conversion_result.num_examples == 3


def test_done_again_after_it_was_done_it_changes_nothing(
    options: ConvertOptions, write: Callable[..., ShardResult]
) -> None:
    conversion_result = ConversionResult.of(results=[write("abc")], rejects=[], num_rows=3)
    commit(options, _CLASSES, conversion_result, {"try": 1})
    before = {name: Path(options.dataset, name).read_bytes() for name in _tree(options.dataset)}
    commit(options, _CLASSES, conversion_result, {"try": 2})
    assert {name: Path(options.dataset, name).read_bytes() for name in _tree(options.dataset)} == before


def test_a_dataset_that_came_meanwhile_is_kept(options: ConvertOptions, write: Callable[..., ShardResult]) -> None:
    commit(options, _CLASSES, ConversionResult.of(results=[write("abc")], rejects=[], num_rows=3), {})
    before = _tree(options.dataset)
    commit(options, _CLASSES, ConversionResult.of(results=[write("abd")], rejects=[], num_rows=3), {})
    assert "has become a dataset in the meantime" in str(read_failure(options))
    assert _tree(options.dataset) == before


def test_what_a_writer_left_must_still_be_there(options: ConvertOptions, write: Callable[..., ShardResult]) -> None:
    result = write("abc")
    assert result.shard
    next(Path(options.incomplete).rglob("*.tfindex")).unlink()
    with pytest.raises(OSError, match=r"index/attempts/train-00000-of-00001/.*\.tfindex"):
        commit(options, _CLASSES, ConversionResult.of(results=[result], rejects=[], num_rows=3), {})
    assert not Path(options.dataset).exists()


def test_done_again_when_only_its_tidying_was_missed(
    options: ConvertOptions, write: Callable[..., ShardResult]
) -> None:
    commit(options, _CLASSES, ConversionResult.of(results=[write("abc")], rejects=[], num_rows=3), {})
    commit(options, _CLASSES, ConversionResult.of(results=[write("abc")], rejects=[], num_rows=3), {})
    assert read_failure(options) is None
    assert not Path(options.incomplete).exists()
    assert metadata.load(options.dataset).num_examples == 3
