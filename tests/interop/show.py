"""How the programs of this folder print what a reader gave them: a line of JSON for each example, in order.

It is all that they share. They run in environments that have the reader and nothing of ours.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any


def example(read: str, *, image: bytes, labels: Iterable[Any], filename: bytes, **more: Any) -> None:
    """Prints an example.

    Args:
        read: what it was read from, e.g. `train`.
        image: encoded.
        labels: multi-hot.
        filename: UTF-8.
        more: what else this reader gives.
    """
    labels = [int(label) for label in labels]
    fact(read, image=hashlib.sha256(image).hexdigest(), labels=labels, filename=filename.decode(), **more)


def known(one: Mapping[str, Any]) -> dict[str, list[int]]:
    """Returns which labels of an example are known, for `more`: nothing where the dataset has no feature for it."""
    return {"known": [int(label) for label in one["labels/known"]]} if "labels/known" in one else {}


def fact(read: str, **values: Any) -> None:
    """Prints something else that the reader says."""
    print(json.dumps({"read": read, **values}), flush=True)
