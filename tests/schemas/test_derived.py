"""The files for other readers are those of tensorflow-datasets and of TFX, each under its name."""

from schemas import derived, tfds, tfx
from schemas.metadata import DatasetInfo


def test_has_the_files_of_all_readers(info: DatasetInfo) -> None:
    files = derived.files(info)
    assert set(files) == {*tfds.files(info), "schema.pbtxt", "statistics.pb"}
    assert all(files[name].decode() == text for name, text in tfds.files(info).items())
    assert files["schema.pbtxt"].decode() == tfx.schema(info)
    assert files["statistics.pb"] == tfx.statistics(info)
