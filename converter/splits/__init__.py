"""This wing decides from names and labels to which split, shard and position an image goes.

assignment.py pure: stable hash -> split, shard, position
stratify.py   splits in which each has its share of every label
"""
