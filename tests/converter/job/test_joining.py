"""Rows are joined with their files, and what becomes of the others is counted."""

from pathlib import Path

from apache_beam.pvalue import TaggedOutput

from converter.job import joining
from converter.options import ConvertOptions
from converter.shards.batches import Batch
from converter.table.row import Row
from multihot.storage import File


def test_counts_the_files_whose_rows_differ_in_labels_alone(tmp_path: Path) -> None:
    options = ConvertOptions(csv="a.csv", images=str(tmp_path), output=str(tmp_path / "out"))
    rows = [
        Row("a.csv", line, name, labels=labels, split=split, group=name)
        for line, (name, labels, split) in enumerate(
            [
                ("a.jpg", b"\0", "train"),
                ("a.jpg", b"\1", "train"),
                ("a.jpg", b"\1", "train"),
                ("b.jpg", b"\0", "train"),
                ("b.jpg", b"\1", "train"),
                ("c.jpg", b"\0", "train"),
                ("c.jpg", b"\1", "validation"),
                ("d.jpg", b"\0", "train"),
            ],
            start=2,
        )
    ]
    files = [File(f"{name}.jpg", f"{tmp_path}/{name}.jpg", 9) for name in "abcd"]
    sources, *others = joining._match((0, {"rows": [Batch(rows)], "files": [Batch(files)]}), options, [])
    assert [source.row.filename for source in sources] == ["d.jpg"]
    assert [one.value for one in others if isinstance(one, TaggedOutput) and one.tag == joining._COUNTS] == [
        joining.Counts(merged=0, differing=2)
    ]
