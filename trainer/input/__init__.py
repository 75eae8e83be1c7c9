"""This wing turns shards into batches, in the graph only: reading, decoding, augmentation, caches.

A module imports only from the modules that stand below it here.

caching.py    chooses what is kept between epochs, in memory or on disk, and fills the cache
diskcache.py  keeps arrays on disk, for this run and later ones
features.py   computes the features of a frozen backbone, which are cached instead of images
pipeline.py   turns shards, or cached examples, into shuffled and augmented batches, in the graph only
listing.py    lists the names and sizes of the examples of a split
reading.py    reads the records of shards, or numbers of cached examples, in the order of an epoch
services.py   lets tf.data services load the chunks of an epoch
fetching.py   brings the shards of a dataset in a store to this machine
buffers.py    decides how many examples a pipeline holds at a time, and how many bytes they take
decoding.py   turns serialized examples into images of one size, and labels
colour.py     changes colours at random, and mixes images
cropping.py   draws random crops and flips, and cuts them out of images
matrices.py  resizes images by products of matrices, for runtimes without the operations of TensorFlow
resizing.py   resizes an image to a square
"""
