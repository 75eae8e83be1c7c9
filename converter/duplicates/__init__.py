"""This wing finds images that are the same or nearly the same, and groups them.

fingerprints.py what is compared of an image: digest, perceptual hash, thumbnail
grouping.py     same and nearly same images, and the groups that they form
neighbours.py   candidates, whose hashes are near each other, without comparing all with all
likeness.py     compares two small colour pictures, window by window
lookalikes.py   which candidates are copies of each other
"""
