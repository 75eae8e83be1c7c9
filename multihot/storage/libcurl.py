"""Imports pycurl so that it calls the libcurl that it brings along.

TensorFlow shows the functions of a libcurl of its own to every library of the process. Without care, pycurl would call
those, or some of each: it fails if their version is older than its own, and may crash if TensorFlow is imported later.
"""

import os
import sys

__all__ = ["pycurl"]

_flags = sys.getdlopenflags()
# All functions are looked for now, and in the libraries that come with pycurl first. macOS always does the second.
sys.setdlopenflags(os.RTLD_NOW | getattr(os, "RTLD_DEEPBIND", 0))
try:
    import pycurl
finally:
    sys.setdlopenflags(_flags)
