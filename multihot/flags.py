"""Parses a command line: makes the flags of a program from its settings, and makes the settings from their values.

    fields of dataclasses --> flags of absl --(command line)--> values of the fields --> a dataclass that checks them

The flags are not those of `absl.flags.FLAGS`, so that several programs can be imported into one process.
"""

import contextlib
import dataclasses
import io
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags

from multihot.errors import UserError
from multihot.settings import Setting, default_of, flag_name, is_required, settings, shown_name
from multihot.usage import Usage, unknown_flag


def parse(usage: Usage, argv: Sequence[str]) -> Any:
    """Returns the settings of a program, whose only dataclass they are, from its command line.

    Raises:
        UsageError: the command line cannot be used.
    """
    (config,) = usage.settings
    return make(usage, config, read(usage, argv))


def read(usage: Usage, argv: Sequence[str], others: list[str] | None = None) -> dict[str, Any]:
    """Returns the values of the fields of all settings by name: those of the command line, and defaults.

    Args:
        usage: of the program.
        argv: the command line, with the name of the program.
        others: gets the arguments that the program does not know; by default, they are an error.

    Raises:
        UsageError: a flag is unknown or has a wrong value, or there are too many arguments.
    """
    values = define(usage)
    try:
        rest = values(argv, known_only=others is not None)[1:]
    except flags.UnrecognizedFlagError as error:
        raise usage.error(unknown_flag(error.flagname, names(usage))) from error
    except (flags.Error, ValueError) as error:
        raise usage.error(str(error).removeprefix("ERROR:: ")) from error
    # The flags of absl among ours have their values; absl asks whether all is parsed.
    flags.FLAGS.mark_as_parsed()
    given: dict[str, Any] = {}
    for field, setting in usage.fields().items():
        if setting.positional:
            several = typing.get_origin(field.type) is tuple
            given[field.name] = tuple(rest) if several else rest.pop(0) if rest else None
            rest = [] if several else rest
            continue
        try:
            given[field.name] = _value(setting, values[flag_name(field)].value)
        except UserError as error:
            raise usage.error(str(error)) from error
    if others is not None:
        others += rest
    elif rest:
        has_arguments = any(setting.positional for setting in usage.fields().values())
        hint = "." if has_arguments else f": every argument is a flag, as in {usage.example.split()[0]}"
        raise usage.error(f"Unexpected argument {rest[0]!r}{hint}")
    return given


def make(usage: Usage, config: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    """Returns the settings of a dataclass with given values.

    Raises:
        UsageError: a field without a default has no value, or the dataclass refuses a value.
    """
    fields = settings(config)
    for field in fields:
        if is_required(field) and not given[field.name]:
            raise usage.error(f"{shown_name(field)} is required.")
    try:
        return config(**{field.name: given[field.name] for field in fields})
    except UserError as error:
        raise usage.error(str(error)) from error


def names(usage: Usage) -> list[str]:
    """Returns the names of the flags that --help lists."""
    own = [flag_name(field) for field, setting in usage.fields().items() if not setting.positional]
    return [*own, "flagfile", "help"]


def define(usage: Usage) -> flags.FlagValues:
    """Returns the flags of a program: one for each field that is not positional, those of absl, and --help."""
    values = flags.FlagValues()
    for field, setting in usage.fields().items():
        if not setting.positional:
            _define(field, setting, values)
    for name, short, text in (
        ("help", "h", usage.help),
        ("helpshort", "?", usage.help),
        ("helpfull", None, lambda: f"{usage.help()}\n\nFlags of absl:\n{flags.FLAGS.get_help()}"),
        ("helpxml", None, lambda: _xml(values)),
    ):
        values[name] = _Help(name, short, text)
    for name in flags.FLAGS:
        if name not in values and name == flags.FLAGS[name].name:
            values[name] = flags.FLAGS[name]
    return values


class _Help(flags.BooleanFlag):
    """A flag that prints a text and ends the process."""

    def __init__(self, name: str, short_name: str | None, text: Callable[[], str]) -> None:
        super().__init__(name, False, "show help", short_name=short_name)
        self._text = text

    def parse(self, argument: str | bool) -> None:
        super().parse(argument)
        if self.value:
            with contextlib.suppress(OSError):  # The reader of a pipe may have ended.
                print(self._text())
            sys.exit(0)


class _WholeNumber(flags.IntegerParser):
    """Says in plain words that a text is no number."""

    def convert(self, argument: str | int) -> Any:
        try:
            return super().convert(argument)
        except ValueError:
            raise ValueError("must be a whole number") from None


def _define(field: dataclasses.Field[Any], setting: Setting, values: flags.FlagValues) -> None:
    name, default = flag_name(field), default_of(field)
    # The type may be `int | None`.
    kinds = set(typing.get_args(field.type) or (field.type,))
    if setting.choices:
        flags.DEFINE_enum(name, default, setting.choices, setting.help, values)
    elif setting.text is not None:
        flags.DEFINE_string(name, default, setting.help, values)
    elif setting.repeated:
        flags.DEFINE_multi_string(name, default, setting.help, values)
    elif typing.get_origin(field.type) is tuple:
        flags.DEFINE_list(name, default, setting.help, values)
    elif bool in kinds:
        flags.DEFINE_bool(name, default, setting.help, values)
    elif int in kinds:
        flags.DEFINE(_WholeNumber(), name, default, setting.help, values, flags.ArgumentSerializer())
    elif float in kinds:
        flags.DEFINE_float(name, default, setting.help, flag_values=values)
    else:
        flags.DEFINE_string(name, default, setting.help, values)


def _value(setting: Setting, value: Any) -> Any:
    if setting.parse:
        return setting.parse(value)
    if isinstance(value, list):
        return tuple(value)
    return value if setting.unit == 1 else value * setting.unit


def _xml(values: flags.FlagValues) -> str:
    text = io.StringIO()
    values.write_help_in_xml_format(text)
    return text.getvalue()
