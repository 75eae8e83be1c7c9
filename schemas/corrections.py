"""Defines the columns of a CSV of corrected labels, which the trainer writes and the converter applies."""

# A correction is for one label of one image: the name of the image in the dataset, the name of the class, the label of
# the row that the image was made from, and the right one, each 0 or 1.
COLUMNS = ("filename", "class", "given", "corrected")
# The row, for people.
PLACE = ("csv", "line")
