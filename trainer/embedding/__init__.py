"""This wing computes the features of all images of datasets, and finds images by them: `python -m trainer.embed`.

picture.py    draws images beside the images that are most like them
neighbours.py finds in a file of features the images that are most like some images
computing.py  computes features and thumbnails of all images of datasets
"""
