"""How far a conversion on other machines is, by its finished shards."""

from pathlib import Path

from converter.job import counting
from converter.options import ConvertOptions
from multihot import storage
from multihot.beam.watching import Progress


def test_shards_are_counted_once_however_often_they_were_written(tmp_path: Path) -> None:
    options = ConvertOptions(csv="x", images="x", output=str(tmp_path))
    assert counting.of_shards(options) is None
    for name in ("train-00000-of-00008/a", "train-00000-of-00008/b", "train-00003-of-00008/a", "test-00000-of-00001/a"):
        storage.write(f"{options.incomplete}/made_from/attempts/{name}.json", "{}")
    assert counting.of_shards(options) == Progress("shards", 3, 9, None)
