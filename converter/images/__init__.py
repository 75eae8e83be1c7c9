"""This wing proves that the bytes of an image decode, and prepares the bytes that are stored.

prove.py      proves that one image decodes, and makes of it what is stored
jpeg.py       decodes the JPEGs that have no fault, which is most images
complaints.py which complaints of libjpeg tell of damage, and which are harmless
decoders.py   decodes other images as training does; 16 bits
headers.py    what an image says before it is decoded: format, size, orientation
"""
