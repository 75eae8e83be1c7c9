"""This wing reads a finished dataset again, and reports every fault in it: `python -m converter.verify`.

dataset_checks.py reads a dataset again, in full, and reports every fault: `python -m converter.verify DIR`
shard_checks.py   reads one shard again, in full, and reports every fault in it
"""
