"""Defines UserError: an error that the user can correct."""


class UserError(ValueError):
    """A mistake in flags, files or their contents.

    The message has the place (file, line, column), the value received, and what to do. Command lines print the message
    without a traceback, and exit with status 1. Other exceptions are defects of multihot and keep their traceback.
    """
