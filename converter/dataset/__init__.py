"""This wing reads the examples of a dataset, writes and reads the lists beside its shards, and summarizes it.

examples.py reads the examples of a dataset: one after the other, or the one that has a name
summary.py  describes a dataset in the words that a person reads when a conversion is done
lists.py    writes and reads the lists beside the shards: rejects.csv, unlisted.csv, duplicates.csv, damaged.csv
"""
