"""Proves that the bytes of an image decode, and prepares the bytes that are stored or predicted on.

The converter prepares every image that it stores, and the trainer every file that it predicts on: the same file gives
the same pixels in both.

prove.py      proves that an image decodes by the decoder of the training, and prepares the bytes that are stored
jpeg.py       decodes JPEGs by libjpeg-turbo alone, without the overhead of calling TensorFlow
complaints.py distinguishes damaged JPEGs from sound ones by the warnings of libjpeg
decoders.py   decodes an image as training does, and distinguishes damaged images from failures of the machine
background.py lays images with transparency on a background, so that every reader sees the same pixels
room.py       shares the memory for decoded images among all threads and processes
headers.py    reads the format, size and orientation of an image from its header, before any of it is decoded
"""
