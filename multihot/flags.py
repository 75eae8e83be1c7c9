"""Makes the flags of a program from the settings of a dataclass, and reads the values of the fields from the flags."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from absl import flags

from multihot.settings import Setting, default_of, flag_name, is_required, settings
from multihot.usage import Usage, unknown_flag

# The flags belong to the module that calls define(): --help lists them as its own.
flags.disclaim_key_flags()

_DEFINE = {bool: flags.DEFINE_bool, int: flags.DEFINE_integer, float: flags.DEFINE_float}


def define(config: type, values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines a flag for each field of a dataclass."""
    for field, setting in settings(config).items():
        _define(field, setting, values)


def _define(field: dataclasses.Field[Any], setting: Setting, values: flags.FlagValues) -> None:
    name, default = flag_name(field), default_of(field)
    if setting.choices:
        flags.DEFINE_enum(name, default, setting.choices, setting.help, values)
    elif setting.text is not None or field.type is str:
        flags.DEFINE_string(name, default, setting.help, values)
    elif setting.repeated:
        flags.DEFINE_multi_string(name, default, setting.help, values)
    elif typing.get_origin(field.type) is tuple:
        flags.DEFINE_list(name, default, setting.help, values)
    else:
        # The type of a number may be `int | None`.
        (kind,) = set(typing.get_args(field.type) or (field.type,)) - {type(None)}
        _DEFINE[kind](name, default, setting.help, flag_values=values)


def read(config: type, values: flags.FlagValues = flags.FLAGS) -> dict[str, Any]:
    """Returns the values of the fields of a dataclass by name, from the flags that were parsed."""
    return {field.name: _value(setting, values[flag_name(field)].value) for field, setting in settings(config).items()}


def parse(argv: list[str], usage: Usage, known_only: bool = False) -> list[str]:
    """Parses the flags of the process, and returns the arguments that are no flags, behind the name of the program.

    Args:
        argv: the command line.
        usage: of the program.
        known_only: whether unknown flags are among the arguments that are returned.

    Raises:
        UserError: a flag is unknown, or its value is wrong.
    """
    try:
        rest: list[str] = flags.FLAGS(argv, known_only=known_only)
    except flags.UnrecognizedFlagError as error:
        raise usage.error(unknown_flag(error.flagname, flags.FLAGS)) from error
    except flags.Error as error:
        raise usage.error(str(error)) from error
    return rest


def check_required(config: type, given: Mapping[str, Any], usage: Usage) -> None:
    """Checks that each field without a default has a value.

    Raises:
        UserError: one has none.
    """
    for field in settings(config):
        if is_required(field) and not given[field.name]:
            raise usage.error(f"--{flag_name(field)} is required.")


def _value(setting: Setting, value: Any) -> Any:
    if setting.parse:
        return setting.parse(value)
    if isinstance(value, list):
        return tuple(value)
    return value if setting.unit == 1 else value * setting.unit
