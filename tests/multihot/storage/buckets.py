"""Buckets of a store that stands in for those of clouds, and names and failures of all kinds."""

import os
import unicodedata
from typing import NamedTuple

import pytest

from multihot.storage import connections
from store_server import Server

COMPOSED = unicodedata.normalize("NFC", "été")
DECOMPOSED = unicodedata.normalize("NFD", "été")
# Names that mean something to a shell, an address or a file system.
NAMES = [
    "with space.jpg",
    " leading and trailing ",
    "[1].jpg",
    "*.jpg",
    "a?.jpg",
    "{x}.jpg",
    "바다.jpg",
    "😀.jpg",
    COMPOSED,
    DECOMPOSED,
    "%20.jpg",
    "a%2Fb",
    "a+b",
    "a&b=c;d",
    "#1",
    "~home",
    "'single' \"double\"",
    "back\\slash",
    "<key>&amp;</key>",
    "a:b@c",
    "..a",
    ".hidden",
    "-n",
    "!$(x)^`|,",
]

# How a request fails. A stall takes its time.
KINDS = ["status", "cut", "refuse", pytest.param("stall", marks=pytest.mark.slow)]


class Bucket(NamedTuple):
    """A bucket of the stand-in, whose objects are in its process."""

    url: str
    name: str
    server: Server

    def put(self, *names: str, content: bytes = b"image") -> None:
        """Stores objects with the same content, without a request."""
        self.server.put(self.name, dict.fromkeys(names, content))

    def objects(self) -> dict[str, bytes]:
        """Returns the content of each object by its name."""
        return self.server.objects(self.name)

    def clear(self) -> None:
        """Deletes all objects, without a request."""
        for key in self.objects():
            self.server.delete(self.name, key)


def use(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets clients find the store, and nothing else of the environment."""
    leave_out(monkeypatch)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)


def leave_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves nothing of stores in the environment."""
    forget()
    for name in os.environ:
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_", "STORAGE_")):
            monkeypatch.delenv(name)


def forget() -> None:
    """Lets clients be made anew, from the environment as it is now."""
    connections.bucket.cache_clear()
    connections.check_credentials.cache_clear()
