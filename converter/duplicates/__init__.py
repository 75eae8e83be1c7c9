"""This wing finds images that are the same or nearly the same, and groups them.

fingerprints.py computes the fingerprint of an image, by which copies of the image are found
grouping.py     lists the images of groups of duplicates, and counts those in several splits
components.py   finds connected components: groups of images that links connect, directly or through others
neighbours.py   finds candidates: images whose hashes are near each other, without comparing all with all
likeness.py     compares two small colour pictures, window by window
lookalikes.py   determines which candidates are copies of each other
turned.py       compares two small grey pictures, turned, mirrored and cropped
embedded.py     finds copies by features of a model
"""
