"""Declares a setting as a field of a dataclass, with its help, choices and unit; the flags follow from the fields."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

_KEY = "setting"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """Describes a field to people, and the flag that sets it.

    Attributes:
        help: text of the flag in --help and in the docs.
        value: word for the value in --help, as in --output=FOLDER; the name of a positional argument.
        positional: whether the value is an argument without the name of a flag; such fields have no default.
        choices: values that the flag takes; any value when empty.
        flag: name of the flag, where the field has another unit than the flag; otherwise the name of the field.
        unit: factor from the number of the flag to the number of the field: 1_000_000 for a flag in megabytes.
        text: default of the flag as text, where the value of the field has a syntax of its own.
        parse: function that makes the value of the field from the value of the flag; by default both are the same.
        repeated: whether each occurrence of the flag adds a value, instead of one flag with a comma-separated list.
    """

    help: str
    value: str = ""
    positional: bool = False
    choices: tuple[str, ...] = ()
    flag: str = ""
    unit: int = 1
    text: str | None = None
    parse: Callable[[Any], Any] | None = None
    repeated: bool = False


def setting(description: str, **given: Any) -> Mapping[str, Setting]:
    """Returns the metadata of a field.

    Args:
        description: the help.
        **given: the other attributes of Setting.
    """
    return {_KEY: Setting(help=description, **given)}


def settings(config: Any) -> dict[dataclasses.Field[Any], Setting]:
    """Returns the setting of each field of a dataclass, in the order of the fields; inherited fields come last."""
    inherited = {
        field.name
        for base in config.__mro__[1:]
        if dataclasses.is_dataclass(base)
        for field in dataclasses.fields(base)
    }
    fields = sorted(dataclasses.fields(config), key=lambda field: field.name in inherited)
    return {field: field.metadata[_KEY] for field in fields}


def flag_name(field: dataclasses.Field[Any]) -> str:
    """Returns the name of the flag that sets a field."""
    return field.metadata[_KEY].flag or field.name


def default_of(field: dataclasses.Field[Any]) -> Any:
    """Returns the default of the flag of a field; None when it has none."""
    setting = field.metadata[_KEY]
    if setting.text is not None:
        return setting.text
    if field.default is dataclasses.MISSING:
        return None
    if isinstance(field.default, tuple):
        return list(field.default)
    return field.default if setting.unit == 1 else field.default // setting.unit


def shown_name(field: dataclasses.Field[Any]) -> str:
    """Returns the name of a setting on a command line: `--output`, or `DIR` for a positional argument."""
    setting = field.metadata[_KEY]
    return setting.value if setting.positional else f"--{flag_name(field)}"


def default_text(field: dataclasses.Field[Any]) -> str:
    """Returns the default of the flag of a field for people: "required" when there must be a value, "" when empty."""
    if is_required(field):
        return "required"
    default = default_of(field)
    if isinstance(default, bool):
        return "on" if default else "off"
    return "" if default in (None, "", []) else str(default)


def is_required(field: dataclasses.Field[Any]) -> bool:
    """Whether the field has no default."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def choices(config: Any) -> dict[str, tuple[str, ...]]:
    """Returns the values that a field may have, by the name of the field, for the fields that have choices."""
    return {field.name: setting.choices for field, setting in settings(config).items() if setting.choices}
