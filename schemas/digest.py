"""Adds a digest to the fields of a JSON file, and checks it: a flipped bit in a count would not be noticed otherwise.

The digest covers the fields in their order, as compact JSON. So it does not depend on the white space of the file.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_KEY = "sha256"


def add(fields: Mapping[str, Any], *, escaped: bool) -> dict[str, Any]:
    """Returns the fields with their digest, which comes last.

    Args:
        fields: values of types that JSON has.
        escaped: whether characters beyond ASCII are escaped in the JSON that is digested. The manifest and the notes
            beside shards differ in this.
    """
    return {**fields, _KEY: _sha256(fields, escaped)}


def remove(fields: Mapping[str, Any], *, escaped: bool) -> tuple[dict[str, Any], bool | None]:
    """Returns the fields without their digest, and whether it is theirs; None if there is no digest.

    Args:
        fields: with the digest, as they were read from JSON.
        escaped: as in `add`.
    """
    without = {name: value for name, value in fields.items() if name != _KEY}
    sha256 = fields.get(_KEY)
    return without, None if sha256 is None else sha256 == _sha256(without, escaped)


def _sha256(fields: Mapping[str, Any], escaped: bool) -> str:
    return hashlib.sha256(json.dumps(fields, ensure_ascii=escaped).encode()).hexdigest()
