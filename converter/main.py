"""Defines the command line of the converter: flags become ConvertOptions, and a conversion starts."""

import gc
import logging
import sys
from collections.abc import Sequence

from absl import flags

from schemas import command, machine
from schemas.quiet import quiet

with quiet():  # Beam tells of packages for Google Cloud that are not there.
    from converter import limits
    from converter.dataset import summary
    from converter.job import commit, pipeline, runners
    from converter.options import (
        DEFAULT_SHARD_MB,
        DEFAULT_SPLITS,
        ConvertOptions,
        parse_max_rejects,
        parse_num_shards,
        parse_splits,
    )

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "csv", "", "CSV of file names and labels, with a header; or several, as in 'parts/*.csv'; or Parquet."
)
flags.DEFINE_string("images", "", "Folder that the file names are relative to.")
flags.DEFINE_string("output", "", "Root of the datasets; this one goes to OUTPUT/NAME/VERSION.")
flags.DEFINE_string("name", "dataset", "Name of the dataset.")
flags.DEFINE_string("version", "1.0.0", "Version of the dataset.")
flags.DEFINE_string("filename_column", "", "Column with the file names. Default: the first one.")
flags.DEFINE_list("label_columns", [], "Columns with the labels. Default: all others.")
flags.DEFINE_list("classes", [], "Classes in the order of the label vector. Default: that of the columns, or sorted.")
flags.DEFINE_string("schema", "", "Dataset, or its manifest.json, whose classes and order this one is to have.")
flags.DEFINE_string("label_delimiter", ",", "Between the names in a cell such as 'desert,sea'.")
flags.DEFINE_string("encoding", "utf-8", "Encoding of the CSV.")
flags.DEFINE_string("splits", "", f"Names and fractions of the splits. Default: {DEFAULT_SPLITS}.")
flags.DEFINE_string("split_column", "", "Column that names the split of each row, instead of --splits.")
flags.DEFINE_string("group_column", "", "Column that names what must stay in one split: a place, a patient.")
flags.DEFINE_bool("group_near_duplicates", False, "Keep images that look the same in one split.")
flags.DEFINE_string("split_method", "hash", "hash, or stratified: every split gets its share of rare labels.")
flags.DEFINE_integer("shard_mb", DEFAULT_SHARD_MB, "Size of a shard to aim for, in MB.")
flags.DEFINE_string("num_shards", "", "Shards of each split, e.g. 8 or train=8,validation=2, instead of --shard_mb.")
flags.DEFINE_integer(
    "max_megapixels", limits.DEFAULT_MAX_MEGAPIXELS, "Reject images of more pixels: 3 bytes of memory each."
)
flags.DEFINE_integer("max_image_mb", limits.DEFAULT_MAX_IMAGE_MB, "Reject larger image files, unread.")
flags.DEFINE_integer("resize_shorter", 0, "Reduce the shorter side of larger images to so many pixels. 0: never.")
flags.DEFINE_bool("keep_damaged", False, "Keep JPEGs that libjpeg calls damaged, and list them in damaged.csv.")
flags.DEFINE_bool(
    "rescale_16bit", False, "Map the lowest to highest value of each image of 16 bits to 0 to 255. Default: value >> 8."
)
flags.DEFINE_string("max_rejects", "1%", "Publish nothing if more rows are rejected: 20, 0.01 or 1%.")
# As many as there are cores: scripts/bench_convert compares numbers of threads.
flags.DEFINE_integer("num_threads", None, "Images that each worker reads at a time. Default: as many as it has cores.")
flags.DEFINE_bool("overwrite", False, "Replace the dataset that is there.")


def main(argv: Sequence[str]) -> None:
    """Converts, and prints the summary."""
    # What was imported stays: nobody needs to walk through all of Beam's objects again and again.
    gc.freeze()
    gc.set_threshold(100_000)
    beam_options = runners.parse(argv[1:], known_flags=FLAGS)
    # What a runner in this process logs is raised as well; what a remote one logs is where the job can be watched.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL if runners.runs_here(beam_options) else logging.INFO)
    options = ConvertOptions(
        csv=FLAGS.csv,
        images=FLAGS.images,
        output=FLAGS.output,
        name=FLAGS.name,
        version=FLAGS.version,
        filename_column=FLAGS.filename_column,
        label_columns=tuple(FLAGS.label_columns),
        classes=tuple(FLAGS.classes),
        schema=FLAGS.schema,
        label_delimiter=FLAGS.label_delimiter,
        encoding=FLAGS.encoding,
        splits=parse_splits(FLAGS.splits) if FLAGS.splits else (),
        split_column=FLAGS.split_column,
        group_column=FLAGS.group_column,
        group_near_duplicates=FLAGS.group_near_duplicates,
        split_method=FLAGS.split_method,
        shard_bytes=FLAGS.shard_mb * 1_000_000,
        num_shards=parse_num_shards(FLAGS.num_shards),
        max_pixels=FLAGS.max_megapixels * 1_000_000,
        max_image_bytes=FLAGS.max_image_mb * 1_000_000,
        resize_shorter=FLAGS.resize_shorter,
        keep_damaged=FLAGS.keep_damaged,
        rescale_16bit=FLAGS.rescale_16bit,
        max_rejects=parse_max_rejects(FLAGS.max_rejects),
        num_threads=FLAGS.num_threads,
        overwrite=FLAGS.overwrite,
    )
    info = pipeline.convert(options, beam_options, max_processes=min(options.threads, machine.usable_cores()))
    if info is None:
        print("The job was built or submitted, as asked: there is no dataset yet.")
    else:
        print(
            summary.summary(
                info,
                options.dataset,
                splits=options.splits,
                num_reused=commit.num_reused(options),
                report_failure=commit.report_failure(options),
            )
        )


def run() -> None:
    """Entry point."""
    for flag in FLAGS.get_key_flags_for_module(__name__):
        # What --help lists are the flags of the program, which is whatever module or script calls this function.
        FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    command.run(main, parse=lambda argv: FLAGS(argv, known_only=True), errors=(flags.Error,))
