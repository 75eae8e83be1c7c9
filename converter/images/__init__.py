"""This wing proves that the bytes of an image decode, and prepares the bytes that are stored.

prove.py      proves that an image decodes by the decoder of the training, and prepares the bytes that are stored
jpeg.py       decodes JPEGs by libjpeg-turbo alone: a call of TensorFlow from Python costs as much again
complaints.py tells damaged JPEGs from sound ones by the complaints of libjpeg
decoders.py   decodes an image as training does, and tells a damaged image from a failure of the machine
headers.py    reads the format, size and orientation of an image from its header, before any of it is decoded
"""
