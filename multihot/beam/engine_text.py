"""Turns the text of an engine about a failed job into a sentence.

Beam raises the text that the engine has: it may have the traceback of a worker, with the words of the engine around it.
"""

import builtins
import re

from multihot.errors import UserError

# The last line of a traceback: the name of an error, and its message. Beam appends the step to the message.
_ERROR = re.compile(r"^([\w.]+(?:Error|Exception|Interrupt|Exit))(?:: |$)", re.MULTILINE)
_STEP = re.compile(r" ?\[while running '.*", re.DOTALL)
# Errors of ours whose messages are for the user.
_OF_USERS = ("UserError", "StoreError", "FileTooLargeError", "OSError", "PermissionError")
_OF_SYSTEM = re.compile(r"\[Errno \d+\] (.*): '(.*)'", re.DOTALL)
# Engines put the name of the job before the reason, and Prism also that of a bundle.
_BEFORE = re.compile(r"^Pipeline \S+ failed in state \w+: (bundle \w+ stage-\d+ failed:)?")

_LOST_WORKER = "A worker has ended during its work: it was killed, or there was no memory left."
# Messages of Beam and of engines about something that is missing; and the sentence for each, which takes their groups.
_KNOWN = (
    (
        re.compile(r"(?s).*docker.*err: (.*)|.*(Cannot connect to the Docker daemon.*)", re.IGNORECASE),
        "The engine starts workers by Docker, and cannot: {}. Workers of other kinds: --environment_type=LOOPBACK or "
        "EXTERNAL.",
    ),
    (re.compile(r"(?s).*SDK worker disconnected.*"), _LOST_WORKER),
    (
        re.compile(r"(?s)Unable to fetch remote prism binary at \S+: (.*)"),
        "Prism cannot be downloaded: {}. `scripts/prism path` builds it, and prints FILE for --prism_location=FILE.",
    ),
    (
        re.compile(r"(?s)Unable to fetch remote job server jar at (\S+): .*"),
        "Beam's job server cannot be downloaded: {}. Download it elsewhere, start it, and name its "
        "--job_endpoint=HOST:PORT.",
    ),
)


def failure(text: str, what: str = "The job failed") -> UserError:
    """Returns the error for the text of an engine: if a worker raised a UserError, it has the same sentence as there.

    Args:
        text: of the engine.
        what: the beginning of a sentence about anything that is not known.
    """
    name, message = _parsed(text)
    if name in _OF_USERS:
        return UserError(message)
    if name in ("ModuleNotFoundError", "ImportError"):
        return UserError(f"The workers lack a package ({message}). They need this one and all that it needs.")
    for pattern, known in _KNOWN if not name else ():
        if found := pattern.fullmatch(message):
            return UserError(known.format(*filter(None, found.groups())))
    error = UserError(f"{what}: {': '.join(filter(None, (name, message)))}")
    if name and not issubclass(getattr(builtins, name, Exception), OSError | MemoryError):
        error.add_note(text.strip())  # A defect, for which the traceback is of use.
    return error


def sentence(text: str) -> str:
    """Returns the message of the error in a text, if it says what to mend; "" for a defect."""
    name, message = _parsed(text)
    return message if name in _OF_USERS else ""


def _parsed(text: str) -> tuple[str, str]:
    """Returns the name and the message of the last error in a text; "" and the first line if there is none."""
    found = [*_ERROR.finditer(text)]
    if not found:
        return "", next((_BEFORE.sub("", line.strip()) for line in text.splitlines() if line.strip()), "")
    message = text[found[-1].end() :]
    said, is_with_step = _STEP.subn("", message)
    # Where a message ends is not known, if it has several lines and no step behind it.
    said = said if is_with_step else message.partition("\n")[0]
    of_system = _OF_SYSTEM.fullmatch(said.strip())
    return found[-1][1].rpartition(".")[2], f"{of_system[2]}: {of_system[1]}" if of_system else said
