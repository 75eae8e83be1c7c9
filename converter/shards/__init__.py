"""This wing turns rows, and the image files that they name, into whole shards.

batches.py    rows and files on their way through the job, many in one element
matching.py   the rows and the files of one name
planning.py   which split and which shard the images of a batch go to
reading.py    reads and proves the images of some rows, several at a time
provenance.py what a finished shard was made from, so that it is kept
writing.py    writes one whole shard from its rows
"""
