"""CSV and images -> a dataset on disk, once: an Apache Beam job.

A folder is a wing of the converter: one idea. A wing imports only from what stands below it here.

main.py     flags -> ConvertOptions -> pipeline.convert()
job/        runs a conversion as an Apache Beam job, and publishes the dataset that results
verify/     reads a finished dataset again, and reports every fault in it: `python -m converter.verify`
report/     builds the page that shows what a dataset contains: `python -m converter.report`
inspect/    shows the summary of a dataset, or chosen examples of it: `python -m converter.inspect`
diff.py     `python -m converter.diff`: in what two datasets differ
shards/     turns rows, and the image files that they name, into whole shards
duplicates/ finds images that are the same or nearly the same, and groups them
images/     proves that the bytes of an image decode, and prepares the bytes that are stored
table/      reads a CSV or a Parquet file, and turns each of its rows into a Row or a Reject
dataset/    reads the examples of a dataset, writes and reads the lists beside its shards, and summarizes it
splits/     decides from names and labels to which split, shard and position an image goes
system/     opens files and stores, starts processes, shares memory among them, and shows the progress bar
rejects.py  why a row was left out: a closed list of reasons
text.py     how names are compared and shown: composed characters, control characters
formulas.py keeps a spreadsheet from running a cell as a formula
options.py  ConvertOptions: frozen, documented, validates itself
limits.py   what one image may have: pixels, bytes
"""

import sys

from schemas import signals

# sys.argv is ["-m"] while Python looks for the module of `python -m converter...`: a program of this package starts.
if sys.argv[:1] == ["-m"]:
    signals.end_at_once()
