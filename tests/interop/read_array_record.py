"""ArrayRecord, which tensorflow-datasets makes of the shards: python read_array_record.py DATASET SPLIT...

`--only_log_errors`: with `--out_dir` tensorflow-datasets 4.9 looks for the new shards in the old folder, and does not
find them.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import show
import tensorflow_datasets as tfds

_CONVERT = (
    "tfds convert_format --dataset_version_dir={dataset} --out_dir={converted} "
    "--out_file_format=array_record --only_log_errors"
)

dataset = sys.argv[1]
encoded = {"image": tfds.decode.SkipDecoding()}
with tempfile.TemporaryDirectory() as converted:
    program, *flags = (part.format(dataset=dataset, converted=converted) for part in _CONVERT.split())
    subprocess.run([Path(sys.executable).with_name(program), *flags], check=True, stdout=sys.stderr)
    for split in sys.argv[2:]:
        examples = tfds.builder_from_directory(converted).as_data_source(split, decoders=encoded)
        for i in range(len(examples)):
            one = examples[i]
            show.example(split, image=one["image"], labels=one["labels"], filename=one["filename"])
