"""This wing finds labels that may be wrong, and builds the page on which people look at them.

program.py    finds the suspects of a run, and writes them: `python -m trainer.suspects --run=RUN`
page.py       builds the page for a review of suspects
pictures.py   reads images of a dataset by their numbers, and makes small pictures of them
files.py      writes suspects.csv, and the rows of corrections
finding.py    finds suspects of all kinds in labels and probabilities
confident.py  finds labels that contradict the probabilities: confident learning
features.py   computes the features by which suspects are found
scores.py     computes probabilities of all labels, by regressions without the label
examples.py   collects labels, names and rows of all images of a run's datasets
"""
