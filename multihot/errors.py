"""Defines the errors that the user can correct: UserError, and UsageError for a command line."""


class UserError(ValueError):
    """A mistake in flags, files or their contents.

    The message has the place (file, line, column), the value received, and what to do. Command lines print the message
    without a traceback, and exit with status 1. Other exceptions are defects of multihot and keep their traceback.
    """


class UsageError(UserError):
    """A command line cannot be used; the message ends with the usage of the program and an example.

    Attributes:
        status: exit status of the program.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
