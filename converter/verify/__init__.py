"""This wing reads a finished dataset again, and reports every fault in it: `python -m converter.verify`.

dataset_checks.py `python -m converter.verify`: what is wrong with a dataset
shard_checks.py   what is wrong with one shard
"""
