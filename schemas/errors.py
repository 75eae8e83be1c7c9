"""What a person can mend."""


class UserError(ValueError):
    """A mistake in flags, files or their contents; its message is all that the user needs to see.

    The message says where (file, line, column), what was received and what to do. The command lines print it and exit
    with status 1; everything else that is raised is a defect of ours and keeps its traceback.
    """
