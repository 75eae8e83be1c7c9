"""Lists the files in the folder of images."""

from collections.abc import Collection, Iterator

from converter.options import ConvertOptions
from multihot import storage


def images(
    options: ConvertOptions,
    csvs: Collection[str],
    part: storage.Part = storage.Part(),  # noqa: B008
) -> Iterator[storage.File]:
    """Yields the files in the folder of images, without tables and this dataset: both may lie in that folder.

    Args:
        options: of the conversion.
        csvs: paths of the tables.
        part: of the listing, from `storage.parts`.
    """
    folder = options.images
    own = tuple(f"{name}/" for path in options.folders if (name := storage.relative(path, folder)))
    tables = {storage.relative(path, folder) for path in csvs}
    for file in storage.list_files(folder, part):
        if not file.name.startswith(own) and file.name not in tables:
            yield file
