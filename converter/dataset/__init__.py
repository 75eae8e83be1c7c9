"""This wing reads the examples of a dataset, writes and reads the lists beside its shards, and summarizes it.

examples.py reads the examples of a dataset: one after the other, or the one that has a name
summary.py  describes a dataset in the text that is printed after a conversion
remarks.py  says what is remarkable in the names of classes
sorting.py  defines Sorted: items in their order, most of which lie in a file if there are many
lists.py    writes and reads the lists beside the shards: rejects.csv, unlisted.csv, duplicates.csv, damaged.csv
"""
