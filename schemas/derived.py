"""The files that say for other readers what the manifest says: they follow from it, byte for byte."""

from schemas import layout, tfds, tfx
from schemas.metadata import DatasetInfo


def files(info: DatasetInfo) -> dict[str, bytes]:
    """Returns the content of each file by its name in the dataset.

    Raises:
        ValueError, ArithmeticError: no dataset has such numbers; none is raised for what a conversion has counted.
    """
    return {
        **{name: text.encode() for name, text in tfds.files(info).items()},
        layout.TFX_SCHEMA: tfx.schema(info).encode(),
        layout.TFX_STATISTICS: tfx.statistics(info),
    }
