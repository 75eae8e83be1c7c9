"""This wing predicts on images that are in no dataset: files, folders, stores, bytes, arrays.

loaded.py    defines the object that `trainer.load_model` returns
table.py     writes predictions to a CSV or a Parquet file, and goes on with one that is not complete
explained.py draws images beside their class activation maps
progress.py  shows how many images are done, how fast, and how many are left
reading.py   reads, prepares and decodes files on threads, in order
scoring.py   runs the model on batches of images
places.py    finds the files that paths, folders and patterns name
"""
