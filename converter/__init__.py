"""CSV and images -> a dataset on disk, once: an Apache Beam job.

main.py         flags -> ConvertOptions -> pipeline.convert()
options.py      ConvertOptions: frozen, documented, validates itself
cells.py        the cells of a CSV, record by record, with the line of each
parquet.py      a Parquet file as the cells of a CSV
table.py        its header: which column is what, and which classes there are
rows.py         each line of it becomes a Row or a Reject
batches.py      rows and files on their way through the job, many in one element
matching.py     the rows and the files of one name
rejects.py      why a row was left out: a closed list of reasons
formulas.py     keeps a spreadsheet from running a cell as a formula
assignment.py   pure: stable hash -> split, shard, position
planning.py     which split and which shard the images of a batch go to
stratify.py     splits in which each has its share of every label
limits.py       what one image may have: pixels, bytes
headers.py      what an image says before it is decoded: format, size, orientation
jpeg.py         decodes the JPEGs that have no fault, which is most images
complaints.py   which complaints of libjpeg tell of damage, and which are harmless
decoders.py     decodes other images as training does; 16 bits
images.py       proves that one image decodes, and makes of it what is stored
origin.py       what a finished shard was made from, so that it is kept
reading.py      reads and proves the images of some rows, several at a time
fingerprints.py what is compared of an image: digest, perceptual hash, thumbnail
duplicates.py   same and nearly same images, and the groups that they form
neighbours.py   candidates, whose hashes are near each other, without comparing all with all
lookalikes.py   which candidates are copies of each other
likeness.py     compares two small colour pictures, window by window
shards.py       writes one whole shard from its rows
commit.py       the last step: reconcile counts, write the metadata, publish
pictures.py     a sample of the examples of a dataset, and small pictures of them
sheets.py       the contact sheets of the report: which images stand on them
charts.py       the charts of the report, as SVG
report.py       `python -m converter.report`: the page that shows what is in a dataset
leftovers.py    what a conversion has left that did not come to its end
publishing.py   puts a whole dataset into its place
summary.py      what a person reads at the end
progress.py     the bar on a terminal while the job runs in this process
storage.py      files, wherever they are: on this machine, or in a store by Beam
runners.py      which runner, its options, and the package that it stages
checks.py       what is wrong with one shard
verify.py       `python -m converter.verify`: what is wrong with a dataset
examples.py     reads examples of a dataset, in order or by name
gallery.py      a picture of examples, or files of them
inspect.py      `python -m converter.inspect`: looks into a dataset
diff.py         `python -m converter.diff`: in what two datasets differ
room.py         memory that images take at a time, in all processes
processes.py    processes that write shards, where the job runs in this process
graph.py        the graph of the Beam job: wires the above into one readable expression
pipeline.py     runs it: looks at what there is before, and at what came of it
"""

import sys

from schemas import signals

# sys.argv is ["-m"] while Python looks for the module of `python -m converter...`: a program of this package starts.
if sys.argv[:1] == ["-m"]:
    signals.end_at_once()
