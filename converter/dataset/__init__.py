"""This wing reads the examples of a dataset, writes and reads the lists beside its shards, and summarizes it.

examples.py reads examples of a dataset, in order or by name
summary.py  what a person reads at the end
lists.py    rejects.csv, unlisted.csv and duplicates.csv: written with inert cells, and read again
"""
