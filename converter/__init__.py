"""The converter turns a CSV and its images into a dataset on disk, once, by an Apache Beam job.

A folder is a wing of the converter: one idea. A wing imports only from what stands below it here.

main.py          defines the command line of the converter: flags become ConvertOptions, and a conversion starts
job/             runs a conversion as an Apache Beam job, and publishes the dataset that results
look/            says how a table and a folder would be read, before a conversion: `python -m converter.look`
verify/          reads a finished dataset again, and reports every fault in it: `python -m converter.verify`
report/          builds the page that shows what a dataset contains: `python -m converter.report`
inspect/         shows the summary of a dataset, or chosen examples of it: `python -m converter.inspect`
diff.py          compares two datasets, whatever shards they are cut into: `python -m converter.diff A B`
shards/          turns rows, and the image files that they name, into whole shards
duplicates/      finds images that are the same or nearly the same, and groups them
images/          proves that the bytes of an image decode, and prepares the bytes that are stored
table/           reads a CSV or a Parquet file, and turns each of its rows into a Row or a Reject
dataset/         reads the examples of a dataset, writes and reads the lists beside its shards, and summarizes it
splits/          assigns images to splits, shards and positions, from their names and labels
system/          opens files and stores, starts processes, shares memory among them, and shows the progress bar
rejects.py       defines why a row is rejected: Reject, and the closed list of reasons
text.py          compares and shows names: composed characters, control characters, lists of names in messages
options.py       defines ConvertOptions: every setting of a conversion, with its checks
known_layouts.py finds the flags for tables of known layouts; the folder `layouts` has a file of flags for each
parsing.py       reads the values of flags that have a syntax of their own
limits.py        defines the limits of one image, in bytes and pixels, for conversions and for all that reads a dataset
"""

import sys

from multihot import signals

# sys.argv is ["-m"] while Python looks for the module of `python -m converter...`: a program of this package starts.
if sys.argv[:1] == ["-m"]:
    signals.end_at_once()
