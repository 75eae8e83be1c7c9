"""This wing decides from names and labels to which split, shard and position an image goes.

assignment.py assigns an image to a split, a shard and a position: a pure function of its file name
stratify.py   assigns splits in which every label, and every pair of labels, has its share, however rare it is
"""
