"""This wing writes a model in the forms that other runtimes take.

serving.py builds the graph that serves a model: from encoded images to named probabilities and labels
exif.py    turns JPEGs upright by their EXIF, in the graph
"""
