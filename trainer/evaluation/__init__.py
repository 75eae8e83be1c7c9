"""This wing evaluates the model of a finished run on a split of any dataset: `python -m trainer.evaluate`.

A module imports only from the modules that stand below it here.

page.py       builds evaluation.html
charts.py     draws its charts
summary.py    writes an evaluation as lines for a terminal
contents.py   computes the contents of evaluation.json
bootstrap.py  computes confidence intervals, of figures and of the differences between two models
figures.py    computes the figures for weighted images: averages, and those of each class
of_images.py  computes the part of each image in the figures that are means over images
curves.py     computes the precision-recall curve and the calibration of a class
confusions.py counts which classes are predicted instead of a missed one, and which are missed together
slices.py     parts a split by the size of the images, their group, or the table of their rows
leaks.py      finds images that a model may have seen in its training
worst.py      chooses the images that a model got most wrong, and makes pictures of them
maps.py       computes class activation maps: which places of an image speak for a class
predicting.py runs the model of a run over a split, on the classes that both have
"""
