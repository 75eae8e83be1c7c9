"""This wing shows the summary of a dataset, or chosen examples of it: `python -m converter.inspect`.

selection.py `python -m converter.inspect`: looks into a dataset
gallery.py   a picture of examples, or files of them
"""
