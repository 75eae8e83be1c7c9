"""This wing writes a model in the forms that other runtimes take.

output.py  claims the folder of an export, and gives a format its name when it is complete
compare.py runs each file by its own runtime, and compares it with the predictions of the trainer
formats.py writes the model of a run in one format each
serving.py builds the graph that serves a model: from encoded images to named probabilities and labels
exif.py    turns JPEGs upright by their EXIF, in the graph
"""
