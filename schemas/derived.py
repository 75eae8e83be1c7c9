"""Returns the files for other readers, which follow from the manifest byte for byte."""

from schemas import layout, tfds, tfx
from schemas.metadata import DatasetInfo


def files(info: DatasetInfo) -> dict[str, bytes]:
    """Returns the content of each file by its name in the dataset.

    Raises:
        ValueError, ArithmeticError: the manifest has impossible numbers, which no conversion writes.
    """
    return {
        **{name: text.encode() for name, text in tfds.files(info).items()},
        layout.TFX_SCHEMA: tfx.schema(info).encode(),
        layout.TFX_STATISTICS: tfx.statistics(info),
    }
