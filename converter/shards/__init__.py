"""This wing turns rows, and the image files that they name, into whole shards.

batches.py    defines Batch, in which rows, files and fingerprints travel through the job
buckets.py    puts rows and files into buckets: per-element overhead in Beam exceeds the cost of our work
listing.py    lists the files in the folder of images
matching.py   matches rows with the files that they name: at most one row gets a file, and the others are rejected
corrections.py corrects labels of rows, as a CSV of corrections says
planning.py   assigns the images of a batch to their splits and shards
reading.py    reads and proves the images of some rows, several at a time
provenance.py notes beside a finished shard what it was made from, so that an unchanged shard is kept
writing.py    writes one whole shard from its rows: one task, one file
"""
