"""Defines ConvertOptions: every setting of a conversion, with its checks."""

import dataclasses
from collections.abc import Mapping
from dataclasses import field
from fractions import Fraction

from converter.parsing import (
    DEFAULT_SPLITS,
    check_pattern,
    parse_cells,
    parse_csv,
    parse_delimiter,
    parse_max_rejects,
    parse_names,
    parse_num_shards,
    parse_splits,
)
from multihot import limits, machine
from multihot.errors import UserError
from multihot.images.background import parse_colour
from multihot.settings import setting
from schemas import layout

# Shards of 100 to 200 MB are what tf.data's performance guide advises for reading from disk and from object stores; a
# shard is also the unit that one worker writes and repeats after a failure: ten thousand photographs of 12 kB, some
# seconds of work.
DEFAULT_SHARD_MB = 128
# A shard is a file of a store: none takes more than 5 TB.
_MOST_SHARD_MB = 5_000_000
# Larger than any screen and any sensor.
_MOST_SHORTER = 100_000
# A header is not further down, and Python can count so far.
_MOST_SKIPPED = 1_000_000_000
# Far more than a machine has cores. Each takes memory for the images that it reads.
_MOST_THREADS = 1024
# A shard is at least one image, and each is planned, written and listed.
MOST_SHARDS = 1_000_000
SPLIT_METHODS = ("hash", "stratified")
FILENAME_MATCHES = ("ignore_case", "basename", "stem")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """The settings of a conversion.

    The help of each field is that of its flag, with the unit of the flag; fields count in bytes, pixels and images.
    """

    # These three have no default; their flags are "" when they are not given.
    csv: str = field(
        metadata=setting(
            "CSV of file names and labels, with a header; several, as in 'parts/*.csv', or one for each split, as in "
            "train=train.csv,validation=valid.csv; or Parquet.",
            value="FILE",
            text="",
        )
    )
    images: str = field(metadata=setting("Folder that the file names are relative to.", value="FOLDER", text=""))
    output: str = field(
        metadata=setting("Root of the datasets; this one goes to OUTPUT/NAME/VERSION.", value="FOLDER", text="")
    )
    name: str = field(default="dataset", metadata=setting("Name of the dataset."))
    version: str = field(default="1.0.0", metadata=setting("Version of the dataset."))
    filename_column: str = field(default="", metadata=setting("Column with the file names. Default: the first one."))
    filename_suffix: str = field(default="", metadata=setting("Added to names that lack it, such as .jpg."))
    filename_pattern: str = field(
        default="", metadata=setting("Regular expression: its first group is the file name, as in '.*/images/(.*)'.")
    )
    filename_match: tuple[str, ...] = field(
        default=("path",),
        metadata=setting(
            "path: names are paths below --images. Or what to ignore: ignore_case (upper and lower case), basename "
            "(folders), stem (endings such as .jpg); several, as in basename,stem.",
            text="path",
            parse=lambda text: tuple(item.strip() for item in text.split(",")),
        ),
    )
    relative_to_csv: bool = field(
        default=False, metadata=setting("File names are relative to the folder of the CSV, which is below --images.")
    )
    label_columns: tuple[str, ...] = field(
        default=(), metadata=setting("Columns with the labels. Default: all others.")
    )
    ignore_columns: tuple[str, ...] = field(default=(), metadata=setting("Columns that are no labels."))
    positive_labels: tuple[str, ...] = field(
        default=("1", "true"),
        metadata=setting("Cells that mean: has the label. Numbers in any spelling.", text="1,true", parse=parse_cells),
    )
    negative_labels: tuple[str, ...] = field(
        default=("0", "false"),
        metadata=setting(
            "Cells that mean: does not have the label. A blank cell is written as ''.",
            text="0,false",
            parse=parse_cells,
        ),
    )
    unknown_labels: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            "Cells that mean: it is not known whether. Training ignores such labels.",
            text="",
            parse=lambda text: parse_cells(text) if text else (),
        ),
    )
    value_column: str = field(
        default="",
        metadata=setting("Column with 0 or 1 that says whether the image has the classes that its row names."),
    )
    merge_columns: bool = field(
        default=False,
        metadata=setting("Columns of names share one set of classes. Default: classes are called COLUMN=NAME."),
    )
    merge_rows: bool = field(
        default=False, metadata=setting("Rows that name the same file are one image with the labels of all of them.")
    )
    classes: tuple[str, ...] = field(
        default=(),
        metadata=setting("Classes in the order of the label vector. Default: that of the columns, or sorted."),
    )
    schema: str = field(
        default="", metadata=setting("Dataset, or its manifest.json, whose classes and order this one is to have.")
    )
    corrections: str = field(
        default="",
        metadata=setting(
            "CSV of labels to correct, as trainer.suspects and its page write it: filename, class, given, corrected.",
            value="FILE",
        ),
    )
    label_delimiter: str = field(
        default="",
        metadata=setting(
            "Between the names in a cell such as 'desert,sea': a character, tab or blanks. Default: a comma, where "
            "that is certain.",
            text="",
            parse=parse_delimiter,
        ),
    )
    delimiter: str = field(
        default="",
        metadata=setting(
            "Between the cells of the CSV: a character, tab or blanks. Default: found in the header.",
            text="",
            parse=parse_delimiter,
        ),
    )
    skip_lines: int = field(default=0, metadata=setting("Lines before the header, which are not read."))
    encoding: str = field(default="utf-8", metadata=setting("Encoding of the CSV."))
    # Membership depends on the order of the splits.
    splits: tuple[tuple[str, Fraction], ...] = field(
        default=(),
        metadata=setting(
            f"Names and fractions of the splits. Default: {DEFAULT_SPLITS}.",
            text="",
            parse=lambda text: parse_splits(text) if text else (),
        ),
    )
    split_column: str = field(
        default="", metadata=setting("Column that names the split of each row, instead of --splits.")
    )
    split_names: Mapping[str, str] = field(
        default_factory=dict,
        metadata=setting(
            "Splits for the cells of --split_column, as in 0=train,1=validation,2=test.", text="", parse=parse_names
        ),
    )
    # A hash of the name in the column decides the split of the group. Blank cells are groups of one.
    group_column: str = field(
        default="", metadata=setting("Column that names what must stay in one split: a place, a patient.")
    )
    group_pattern: str = field(
        default="",
        metadata=setting(
            r"Regular expression: images whose names agree in its first group stay in one split, as in '(.*)\.rf\.'."
        ),
    )
    duplicates_by: str = field(
        default="",
        metadata=setting(
            "Features of the images, written by trainer.embed: finds mirrored, turned and cropped copies too.",
            value="FILE",
        ),
    )
    group_near_duplicates: bool = field(default=False, metadata=setting("Keep images that look the same in one split."))
    split_method: str = field(
        default="hash", metadata=setting("hash, or stratified: every split gets its share of rare labels.")
    )
    shard_bytes: int = field(
        default=DEFAULT_SHARD_MB * 1_000_000,
        metadata=setting("Size of a shard to aim for, in MB.", flag="shard_mb", unit=1_000_000),
    )
    # By split name, or for every split under the key "".
    num_shards: Mapping[str, int] = field(
        default_factory=dict,
        metadata=setting(
            "Shards of each split, e.g. 8 or train=8,validation=2, instead of --shard_mb.",
            text="",
            parse=parse_num_shards,
        ),
    )
    # With all the frames of an image.
    max_pixels: int = field(
        default=limits.DEFAULT_MAX_MEGAPIXELS * 1_000_000,
        metadata=setting(
            "Reject images of more pixels: 3 bytes of memory each.", flag="max_megapixels", unit=1_000_000
        ),
    )
    max_image_bytes: int = field(
        default=limits.DEFAULT_MAX_IMAGE_MB * 1_000_000,
        metadata=setting("Reject larger image files, unread.", flag="max_image_mb", unit=1_000_000),
    )
    resize_shorter: int = field(
        default=0, metadata=setting("Reduce the shorter side of larger images to so many pixels. 0: never.")
    )
    keep_damaged: bool = field(
        default=False, metadata=setting("Keep JPEGs that libjpeg calls damaged, and list them in damaged.csv.")
    )
    background: str = field(
        default="white",
        metadata=setting("Colour behind images with transparency: white, black, or #rrggbb."),
    )
    rescale_16bit: bool = field(
        default=False,
        metadata=setting("Map the lowest to highest value of each image of 16 bits to 0 to 255. Default: value >> 8."),
    )
    # A count (int), or a fraction of the rows (Fraction).
    max_rejects: int | Fraction = field(
        default=Fraction(1, 100),
        metadata=setting(
            "Publish nothing if more rows are rejected: 20, 0.01 or 1%.", text="1%", parse=parse_max_rejects
        ),
    )
    # As many as there are cores: scripts/bench_convert compares numbers of threads.
    num_threads: int | None = field(
        default=None, metadata=setting("Images that each worker reads at a time. Default: as many as it has cores.")
    )
    overwrite: bool = field(default=False, metadata=setting("Replace the dataset that is there."))

    def __post_init__(self) -> None:
        for name in ("csv", "images", "output"):
            if not getattr(self, name):
                raise UserError(f"--{name} is required.")
        if not layout.is_name(self.name):
            raise UserError(
                f"--name must be a letter, then letters, digits and underscores (tensorflow-datasets takes names apart "
                f"at a dash). Received: {self.name!r}"
            )
        if not layout.is_version(self.version):
            raise UserError(f"--version must be three numbers, as in 1.0.0. Received: {self.version!r}")
        for flag, names in (("--classes", self.classes), ("--label_columns", self.label_columns)):
            if len(set(names)) < len(names):
                raise UserError(f"{flag} has a name twice. Received: {', '.join(names)}")
            if not all(names):
                raise UserError(f"{flag} has an empty name. Received: {', '.join(names)!r}")
        if len(self.label_delimiter) > 1:
            raise UserError(f"--label_delimiter must be one character. Received: {self.label_delimiter!r}")
        if len(self.delimiter) > 1 or self.delimiter in ('"', "\r", "\n", "\0"):
            raise UserError(f"--delimiter must be one character, tab or blanks. Received: {self.delimiter!r}")
        if self.split_method not in SPLIT_METHODS:
            raise UserError(f"--split_method must be {' or '.join(SPLIT_METHODS)}. Received: {self.split_method!r}")
        parse_colour(self.background)
        if not (self.names_are_paths or set() < set(self.filename_match) <= {*FILENAME_MATCHES}):
            raise UserError(
                f"--filename_match must be path, or some of {', '.join(FILENAME_MATCHES)}. "
                f"Received: {','.join(self.filename_match)!r}"
            )
        for flag, pattern in (("--filename_pattern", self.filename_pattern), ("--group_pattern", self.group_pattern)):
            check_pattern(flag, pattern)
        self._check_exclusive()
        if not self.splits and not self.split_column and not self.has_split_files:
            object.__setattr__(self, "splits", parse_splits(DEFAULT_SPLITS))
        self._check_numbers()
        unknown = set(self.num_shards) - set(self.split_order) - {""}
        if unknown and not self.split_column:
            flag = "--csv" if self.has_split_files else "--splits"
            raise UserError(f"--num_shards names splits that {flag} does not: {', '.join(sorted(unknown))}")

    def _check_numbers(self) -> None:
        """Checks that numbers are such that a conversion can end."""
        mega = 1_000_000
        for flag, value, unit, least, most, why in (
            ("--shard_mb", self.shard_bytes, mega, 1, _MOST_SHARD_MB, ""),
            ("--max_megapixels", self.max_pixels, mega, 1, limits.MOST_MEGAPIXELS, " (TensorFlow)"),
            ("--max_image_mb", self.max_image_bytes, mega, 1, limits.MOST_IMAGE_MB, " (a record)"),
            ("--skip_lines", self.skip_lines, 1, 0, _MOST_SKIPPED, ""),
            ("--resize_shorter", self.resize_shorter, 1, 0, _MOST_SHORTER, " (0: no image)"),
            ("--num_threads", 1 if self.num_threads is None else self.num_threads, 1, 1, _MOST_THREADS, ""),
        ):
            # In Python and in tests, limits of less than a million bytes or pixels are of use.
            if not min(least, 1) <= value <= most * unit:
                raise UserError(f"{flag} must be from {least} to {most}{why}. Received: {_shown(value, unit)}")
        most_shards = max(self.num_shards.values(), default=1)
        if most_shards > MOST_SHARDS:
            raise UserError(f"--num_shards must be at most {MOST_SHARDS}. Received: {_shown(most_shards)}")

    def _check_exclusive(self) -> None:
        """Checks that no two flags say the same: which classes there are, or what decides the split of an image."""
        stratified = self.split_method == "stratified"
        files, by_files = self.has_split_files, "--csv with a file for each split"
        for one, other, both in (
            ("--schema", "--classes", self.schema and self.classes),
            ("--splits", "--split_column", self.splits and self.split_column),
            ("--group_column", "--split_column", self.group_column and self.split_column),
            ("--group_near_duplicates", "--split_column", self.group_near_duplicates and self.split_column),
            ("--group_pattern", "--split_column", self.group_pattern and self.split_column),
            ("--group_pattern", "--group_column", self.group_pattern and self.group_column),
            ("--split_method=stratified", "--split_column", stratified and self.split_column),
            ("--split_method=stratified", "--group_near_duplicates", stratified and self.group_near_duplicates),
            (by_files, "--splits", files and self.splits),
            (by_files, "--split_column", files and self.split_column),
            (by_files, "--group_column", files and self.group_column),
            (by_files, "--group_pattern", files and self.group_pattern),
            (by_files, "--group_near_duplicates", files and self.group_near_duplicates),
            (by_files, "--split_method=stratified", files and stratified),
        ):
            if both:
                raise UserError(f"{one} and {other} exclude each other: give one of them.")
        if self.split_names and not self.split_column:
            raise UserError("--split_names is about the cells of --split_column: name that column too.")

    @property
    def csv_files(self) -> tuple[tuple[str, str], ...]:
        """The pattern of each group of files, behind the name of their split; "" where the file does not decide it."""
        return parse_csv(self.csv)

    @property
    def has_split_files(self) -> bool:
        """Whether --csv names a file for each split."""
        return any(name for name, _ in self.csv_files)

    @property
    def names_are_paths(self) -> bool:
        """Whether the name in a row is exactly that of its file, so that its split and its position follow from it."""
        return self.filename_match == ("path",)

    @property
    def split_order(self) -> tuple[str, ...]:
        """The names of the splits in the order of the flags; () where only the cells of a column name them."""
        if self.split_column:
            return tuple(dict.fromkeys(self.split_names.values()))
        return tuple(name for name, _ in self.splits) or tuple(name for name, _ in self.csv_files if name)

    @property
    def dataset(self) -> str:
        """The folder of the finished dataset."""
        return layout.dataset_dir(self.output, self.name, self.version)

    @property
    def incomplete(self) -> str:
        """The folder in which it is put together."""
        return layout.incomplete_dir(self.dataset)

    @property
    def limits(self) -> limits.Limits:
        """The limits of an image."""
        return limits.Limits(self.max_pixels, self.max_image_bytes)

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that a conversion replaces or deletes."""
        return self.dataset, self.incomplete, layout.replaced_dir(self.dataset)

    @property
    def threads(self) -> int:
        """Images to read and prove at a time: asked for on a worker, whose cores are not those of the launcher."""
        return machine.usable_cores() if self.num_threads is None else self.num_threads

    def rejects_allowed(self, num_rows: int) -> int:
        """Returns how many of `num_rows` may be rejected."""
        return int(self.max_rejects * num_rows) if isinstance(self.max_rejects, Fraction) else self.max_rejects


def _shown(number: int, unit: int = 1) -> str:
    """Returns a number of units for a message: not all of its digits, of which Python prints at most 4300."""
    whole, rest = divmod(number, unit)
    if abs(whole) >= 10**15:
        return f"a number of about {len(bin(abs(whole))) * 3 // 10} digits"
    return f"{whole + rest / unit:g}" if rest else str(whole)
