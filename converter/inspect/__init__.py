"""This wing shows the summary of a dataset, or chosen examples of it: `python -m converter.inspect`.

selection.py shows the summary of a dataset, or chosen examples of it: `python -m converter.inspect DIR`
gallery.py   draws examples as a grid of pictures, or writes them as files
"""
