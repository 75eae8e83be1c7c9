"""Writes dataclasses as JSON; builds them from it, and checks every value against its declared type."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

# Metadata of a field that `plain` leaves out where it has its default: a field for what few datasets have then changes
# no byte of the manifests of the others.
SPARSE = {"sparse": True}


def plain(value: Any) -> Any:
    """Returns the fields of a dataclass, and of all dataclasses in it, as values of JSON, which `build` takes back."""
    if dataclasses.is_dataclass(value):
        fields = {field: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {
            field.name: plain(found)
            for field, found in fields.items()
            if not field.metadata.get("sparse") or found != field.default
        }
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def build(value: Any, kind: Any, where: str = "") -> Any:
    """Returns the dataclass that was written to JSON with `plain`.

    Unknown fields, which newer versions have added, are ignored. Missing fields, which older versions did not have, get
    their defaults.

    Args:
        value: from JSON.
        kind: its type: a dataclass, `tuple[X, ...]`, `Mapping[str, X]`, or a plain type, for which subclasses are not
            accepted: `True` is no int.
        where: name of the value in the message.

    Raises:
        TypeError: a value has another type; the message has its name.
    """
    plain: Any = typing.get_origin(kind) or kind
    arguments = typing.get_args(kind)
    in_json: Any = list if plain is tuple else dict if plain is Mapping or dataclasses.is_dataclass(plain) else plain
    if type(value) is not in_json:
        raise TypeError(f"{where} must be {plain.__name__}. Received: {str(value)[:100]!r}")
    if plain is tuple:
        return tuple(build(item, arguments[0], f"{where}[{i}]") for i, item in enumerate(value))
    if plain is Mapping:
        return {key: build(item, arguments[1], f"{where}[{key!r}]") for key, item in value.items()}
    if in_json is not dict:
        return value
    fields = {name: declared for name, declared in typing.get_type_hints(plain).items() if name in value}
    return plain(**{name: build(value[name], fields[name], f"{where}.{name}".lstrip(".")) for name in fields})
