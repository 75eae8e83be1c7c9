"""Holds what was read from JSON against the types that dataclasses declare."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any


def check(value: object, kind: Any, where: str = "") -> None:
    """Checks a value, and all that it is made of.

    Args:
        value: to check.
        kind: its type: a dataclass, `tuple[X, ...]`, `Mapping[K, V]`, or a plain one, which no subclass can stand for:
            `True` is no int.
        where: what the value is called in the message.

    Raises:
        TypeError: something in it has another type; the message says where.
    """
    plain = typing.get_origin(kind) or kind
    arguments = typing.get_args(kind)
    if not (isinstance(value, plain) if plain is Mapping else type(value) is plain):
        raise TypeError(f"{where} must be {plain.__name__}. Received: {str(value)[:100]!r}")
    if isinstance(value, tuple):
        for i, item in enumerate(value):
            check(item, arguments[0], f"{where}[{i}]")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            check(key, arguments[0], f"a key of {where}")
            check(item, arguments[1], f"{where}[{key!r}]")
    elif dataclasses.is_dataclass(value):
        for name, declared in typing.get_type_hints(plain).items():
            check(getattr(value, name), declared, f"{where}.{name}".lstrip("."))
