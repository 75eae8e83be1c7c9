"""Names and writes the files of a job, which the command that starts it and all of its workers share.

    .predictions.csv.0f3a5b7c9d1e.parts/       the name depends on the model and the places that are asked for
      files                                    paths of the images in order, a JSON string on each line
      model.zip                                the exported model
      rows/000012-2f0a9c31d4b8.csv             rows of a part

A part is some consecutive lines of `files`. The name of its rows has a digest of these lines. So every attempt at a
part writes the same file, and rows of other files are never taken for them: attempts may be repeated, killed, or late.
"""

import dataclasses
import hashlib
import itertools
import json
import os
import posixpath
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from multihot import storage
from multihot.errors import UserError
from multihot.limits import Limits
from multihot.storage import File
from trainer.model_file import ModelInfo

# Files of a part at most; parts of a job, if it has enough files; and batches of a part at least. While the first batch
# of a part is read, the model waits.
_MOST_FILES, _ENOUGH_PARTS, _ENOUGH_BATCHES = 1024, 64, 8
# Bytes of the rows of a part, and of a probability there, about.
_ROWS_BYTES, _NUMBER_BYTES = 1 << 26, 12
_FILES, _MODEL, _ROWS = "files", "model.zip", "rows"
_ENDING = ".parts"


class Part(NamedTuple):
    """Some consecutive files of a job.

    Attributes:
        number: from 0, in the order of the files.
        start: of its lines in the list of all files, in bytes.
        num_bytes: of these lines.
        num_files: number of these lines.
        digest: of these lines.
    """

    number: int
    start: int
    num_bytes: int
    num_files: int
    digest: str

    @property
    def name(self) -> str:
        """The name of the file with its rows."""
        return f"{self.number:06d}-{self.digest}.csv"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Folder:
    """The folder of a job, and all that its workers need to know.

    Attributes:
        path: of the folder, absolute if it is on this machine.
        base: the folder in which relative paths of images are.
        info: of the model.
        limits: of one image.
        batch_size: images that the model gets at a time.
        precision: in which the model computes, as PredictOptions has it.
    """

    path: str
    base: str
    info: ModelInfo
    limits: Limits
    batch_size: int
    precision: str

    def write_list(self, files: Iterable[File], num_files: int) -> list[Part]:
        """Writes the list of all files, and returns its parts.

        Args:
            files: in order.
            num_files: of them; it decides the size of a part.

        Raises:
            OSError: the list cannot be written.
        """
        parts: list[Part] = []
        size = self._files_of_a_part(num_files)
        lines = (f"{json.dumps(file.path)}\n".encode() for file in files)
        start = 0
        with storage.create(f"{self.path}/{_FILES}") as file:
            while some := list(itertools.islice(lines, size)):
                content = b"".join(some)
                file.write(content)
                parts.append(Part(len(parts), start, len(content), len(some), _digest(content)))
                start += len(content)
        return parts

    def _files_of_a_part(self, num_files: int) -> int:
        row_bytes = _NUMBER_BYTES * len(self.info.classes)
        most = min(_MOST_FILES, max(1, _ROWS_BYTES // row_bytes))
        return min(most, max(_ENOUGH_BATCHES * self.batch_size, -(-num_files // _ENOUGH_PARTS)))

    def read_list(self, part: Part) -> list[str]:
        """Returns the paths of a part.

        Raises:
            UserError: the list was deleted or replaced: another command has completed the rows, or has begun.
            OSError: the list cannot be read.
        """
        try:
            with storage.open_binary(f"{self.path}/{_FILES}") as file:
                file.seek(part.start)
                content = file.read(part.num_bytes)
        except FileNotFoundError as error:
            raise UserError(f"The list in {self.path} was deleted: another command has completed the rows.") from error
        if _digest(content) != part.digest:
            raise UserError(f"The list in {self.path} was replaced by another command, with other files.")
        return [json.loads(line) for line in content.splitlines()]

    def has_model(self) -> bool:
        """Whether the model is there."""
        return storage.exists(f"{self.path}/{_MODEL}")

    def write_model(self, saved_model: Path) -> None:
        """Writes the model.

        Args:
            saved_model: folder of the SavedModel.

        Raises:
            OSError: it cannot be written.
        """
        with tempfile.TemporaryFile() as packed, storage.create(f"{self.path}/{_MODEL}") as file:
            with zipfile.ZipFile(packed, "w") as archive:
                for path in sorted(each for each in saved_model.rglob("*") if each.is_file()):
                    archive.write(path, path.relative_to(saved_model))
            packed.seek(0)
            shutil.copyfileobj(packed, file)

    def unpack_model(self, target: str) -> None:
        """Writes the files of the SavedModel to a folder of this machine.

        Raises:
            UserError: the model is not there: this worker does not share the folder with the launcher.
            OSError: it cannot be read.
        """
        try:
            with storage.open_binary(f"{self.path}/{_MODEL}") as file, zipfile.ZipFile(file) as archive:
                archive.extractall(target)
        except FileNotFoundError as error:
            raise UserError(
                f"A worker finds no model in {self.path}. On other machines, --output and the images must be in a "
                "store, or in folders that all of them share."
            ) from error

    def image(self, path: str) -> str:
        """Returns the path by which a worker opens an image."""
        return os.path.join(self.base, path) if storage.is_local(path) else path

    def write_rows(self, part: Part, rows: bytes) -> None:
        """Writes the rows of a part; or nothing if the folder was deleted, since the job has ended.

        Raises:
            OSError: they cannot be written.
        """
        if self.has_model():
            storage.write(f"{self.path}/{_ROWS}/{part.name}", rows)

    def is_finished(self, part: Part) -> bool:
        """Whether there are the rows of a part."""
        return storage.exists(f"{self.path}/{_ROWS}/{part.name}")

    def rows(self) -> dict[str, File]:
        """Returns the files with the rows of finished parts by name, with one listing."""
        return {file.name: file for file in storage.list_files(f"{self.path}/{_ROWS}")}

    def delete(self) -> None:
        """Deletes the folder."""
        storage.delete(self.path)


def path(output: str, key: str, beside: str = "") -> str:
    """Returns the folder of a job.

    Args:
        output: the file of predictions.
        key: depends on the model and the places.
        beside: the folder in which it is; by default, that of the output.
    """
    parent, name = posixpath.split(output if not storage.is_local(output) else os.path.abspath(output))
    return f"{beside.rstrip('/') or parent}/.{name}.{key[:12]}{_ENDING}"


def delete_others(output: str, beside: str = "") -> None:
    """Deletes the folders of all jobs for an output that have not been completed."""
    parent, begin = posixpath.split(path(output, "", beside).removesuffix(_ENDING))
    for name in storage.list_folders(parent):
        if name.startswith(begin) and name.endswith(_ENDING):
            storage.delete(f"{parent}/{name}")


def finished(parts: Iterable[Part], rows: dict[str, File]) -> Iterator[Part]:
    """Yields the parts of which there are rows."""
    return (part for part in parts if part.name in rows)


def _digest(lines: bytes) -> str:
    return hashlib.sha256(lines).hexdigest()[:12]
