"""Says how a program is called, with an example: below the error about a command line that cannot be understood."""

import argparse
import difflib
import os
import re
import sys
from collections.abc import Iterable
from typing import NamedTuple, NoReturn

from absl.flags import argparse_flags

from multihot.errors import UserError


class Usage(NamedTuple):
    """Describes how a program is called.

    Attributes:
        module: module of the program, for `python -m`.
        arguments: arguments that it needs, with words for their values.
        example: arguments of an example.
    """

    module: str
    arguments: str
    example: str

    def error(self, sentence: str) -> UserError:
        """Returns the error about a command line, with the usage and an example below the sentence."""
        name = program(self.module)
        return UserError(
            f"{sentence}\nusage: {name} {self.arguments}\nexample: {name} {self.example}\nAll flags: {name} --help"
        )


def program(module: str) -> str:
    """Returns the name by which the user has called a program: `python -m` with its module, or one of our commands."""
    name = os.path.basename(sys.argv[0])
    return name if name.startswith("multihot") else f"python -m {module}"


def unknown_flag(name: str, known: Iterable[str]) -> str:
    """Returns the sentence about a flag that there is not, with the closest one that there is."""
    closest = difflib.get_close_matches(name, list(known), n=1)
    return f"Unknown flag --{name}." + (f" Did you mean --{closest[0]}?" if closest else "")


class Parser(argparse_flags.ArgumentParser):
    """Parses the command line of a tool; what it cannot understand ends the process with status 2."""

    def __init__(self, module: str, *, description: str, example: str) -> None:
        """Makes a parser without arguments.

        Args:
            module: module of the program, for `python -m`.
            description: a sentence for --help.
            example: arguments of an example.
        """
        self._example = f"example: {program(module)} {example}"
        super().__init__(prog=program(module), description=description, epilog=self._example)

    def error(self, message: str) -> NoReturn:
        """Prints what is wrong, the usage and an example, and ends the process."""
        if found := re.match(r"unrecognized arguments: -+([^\s=]+)", message):
            message = unknown_flag(found[1], (name.lstrip("-") for name in self._option_string_actions))
        print(f"error: {message}\n{self.format_usage()}{self._example}", file=sys.stderr)
        sys.exit(2)

    def parse(self, argv: list[str]) -> argparse.Namespace:
        """Returns the values of the arguments, of which the first is the name of the program."""
        arguments: argparse.Namespace = self.parse_args(argv[1:])
        return arguments
