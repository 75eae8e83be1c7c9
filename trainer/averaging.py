"""Stub until O lands."""

import contextlib


@contextlib.contextmanager
def averaged(model):
    yield
