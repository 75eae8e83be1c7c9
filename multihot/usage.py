"""Declares a program and its settings, and writes --help and the usage below an error about a command line."""

import dataclasses
import difflib
import os
import shlex
import shutil
import sys
import textwrap
import typing
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from multihot.errors import UsageError
from multihot.settings import Setting, default_text, is_required, settings, shown_name

# Columns of the names in --help; the help of a longer name starts on the next line.
_NAME_COLUMNS = 25
# Lines longer than this are hard to read, however wide the terminal is.
_MOST_COLUMNS = 100
_NO_BREAK = "\N{NO-BREAK SPACE}"
_OTHER_FLAGS = (
    ("--flagfile=FILE", "Read flags from a file, one on each line."),
    ("--help", "Show this help. --helpfull also lists the flags of absl: logging and debugging."),
)


class Usage(NamedTuple):
    """Declares the command line of a program.

    Attributes:
        module: module of the program, for `python -m`.
        description: a sentence about the program.
        example: arguments of an example.
        settings: dataclasses, whose fields are the flags and positional arguments of the program.
        status: exit status after a command line that cannot be used.
    """

    module: str
    description: str
    example: str
    settings: tuple[type, ...]
    status: int = 2

    def fields(self) -> dict[dataclasses.Field[Any], Setting]:
        """Returns the settings of all dataclasses by field."""
        return {field: one for config in self.settings for field, one in settings(config).items()}

    def error(self, sentence: str) -> UsageError:
        """Returns the error about a command line, with the usage and an example below the sentence."""
        name = program(self.module)
        return UsageError(f"{sentence}\n{self._call()}\n{self._example()}\nAll flags: {name} --help", self.status)

    def help(self) -> str:
        """Returns the text of --help."""
        arguments = [(one.value, _described(field, one)) for field, one in self.fields().items() if one.positional]
        flags = [
            (f"{shown_name(field)}{_value(field, one)}", _described(field, one))
            for field, one in self.fields().items()
            if not one.positional
        ]
        parts = [self._call(), textwrap.fill(self.description, _width()), self._example()]
        if arguments:
            parts.append("Arguments:\n" + _columns(arguments))
        return "\n\n".join([*parts, "Flags:\n" + _columns([*flags, *_OTHER_FLAGS])])

    def _call(self) -> str:
        arguments = [one.value for one in self.fields().values() if one.positional]
        required = [
            f"{shown_name(field)}{_value(field, one)}"
            for field, one in self.fields().items()
            if is_required(field) and not one.positional
        ]
        return " ".join(["usage:", program(self.module), *arguments, *required, "[flags]"])

    def _example(self) -> str:
        return f"example: {program(self.module)} {self.example}"


def program(module: str) -> str:
    """Returns the name by which the user has called a program: `python -m` with its module, or one of our commands."""
    name = os.path.basename(sys.argv[0])
    return name if name.startswith("multihot") else f"python -m {module}"


def command_line(module: str) -> str:
    """Returns the command line of this process, as it can be pasted into a shell; "" if it is of another program."""
    name, folder = os.path.basename(sys.argv[0]), os.path.basename(os.path.dirname(sys.argv[0]))
    if name in (module, "-m") or name.startswith("multihot") or (name, folder) == ("__main__.py", module):
        return f"{program(module)} {shlex.join(sys.argv[1:])}"
    return ""


def unknown_flag(name: str, known: Iterable[str]) -> str:
    """Returns the sentence about a flag that there is not, with the closest one that there is."""
    closest = difflib.get_close_matches(name, list(known), n=1)
    return f"Unknown flag --{name}." + (f" Did you mean --{closest[0]}?" if closest else "")


def _value(field: dataclasses.Field[Any], setting: Setting) -> str:
    """Returns a word for the value of a flag, behind a sign: `=N`; "" for a switch."""
    if field.type is bool:
        return ""
    if setting.value or setting.choices or setting.text is not None or setting.repeated:
        return f"={setting.value or '...'}"
    if typing.get_origin(field.type) is tuple:
        return "=A,B"
    return "=N" if {int, float} & {field.type, *typing.get_args(field.type)} else "=..."


def _described(field: dataclasses.Field[Any], setting: Setting) -> str:
    """Returns the help of a setting, with its choices and its default."""
    words = setting.help
    if setting.choices:
        words += f" Choices: {', '.join(setting.choices)}."
    default = default_text(field)
    if setting.positional or not default:
        return words
    # The space is one at which a line does not end.
    return f"{words} ({default if is_required(field) else f'default:{_NO_BREAK}{default}'})"


def _width() -> int:
    """Returns the length of the lines of --help."""
    return max(_NAME_COLUMNS * 2, min(shutil.get_terminal_size().columns, _MOST_COLUMNS))


def _columns(rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(line for name, words in rows for line in _row(name, words))


def _row(name: str, words: str) -> Iterator[str]:
    """Yields the lines of a name and its help."""
    lines = textwrap.wrap(words, _width() - _NAME_COLUMNS - 2)
    first, *rest = (line.replace(_NO_BREAK, " ") for line in lines)
    if len(name) < _NAME_COLUMNS:
        yield f"  {name:{_NAME_COLUMNS}}{first}"
    else:
        yield f"  {name}"
        yield f"  {'':{_NAME_COLUMNS}}{first}"
    yield from (f"  {'':{_NAME_COLUMNS}}{line}" for line in rest)
