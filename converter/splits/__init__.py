"""This wing assigns images to splits, shards and positions, from their names and labels.

assignment.py assigns an image to a split, a shard and a position: a pure function of its file name
stratify.py   assigns splits that contain each label, and each pair of labels, in the same proportion
augmented.py  recognizes the names of augmented versions of one image, and counts those in several splits
"""
