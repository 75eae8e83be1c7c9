"""Damage, in rounds: to any bytes, and to images in ways that leave the rest of the file whole.

Bytes that are flipped anywhere mostly end at the first checksum or length. So an image is also cut into its parts, one
of them is damaged, and lengths and checksums are made to fit again.

The cases are always the same, in the same order, and FUZZ_SEED gives others. FUZZ_SECONDS (default 0) is the least time
that each test takes, for more rounds than it needs. `pytest -s` prints how many there were.
"""

import itertools
import os
import random
import re
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

Damage = Callable[[bytes, bytes, random.Random], bytes]

_SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
_SEED = os.environ.get("FUZZ_SEED", "0")
# More than any round takes on a busy machine: one that takes longer hangs.
_MAX_ROUND_SECONDS = 120

# Where programs go wrong: at the ends of the ranges of their integers.
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def _damaged(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Damages some bytes, as disks, networks, editors and attackers do.

    Args:
        data: to be damaged.
        other: of the same kind, to take pieces from.
        rng: decides all.
    """
    bad = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        size = len(bad)
        # Mostly near the start: that is where headers are.
        at = rng.randrange(size + 1) if rng.random() < 0.5 else min(size, int(rng.expovariate(1 / 60)))
        end = min(size, at + int(rng.expovariate(1 / 20)) + 1)
        start = rng.randrange(len(other) + 1)
        match rng.choice(("flip", "flip", "set", "number", "cut", "delete", "repeat", "insert", "splice", "swap")):
            case "flip" if at < size:
                bad[at] ^= 1 << rng.randrange(8)
            case "set" if at < size:
                bad[at] = rng.choice(_NUMBERS) & 0xFF
            case "number":
                width, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
                bad[at : at + width] = (rng.choice(_NUMBERS) & (1 << 8 * width) - 1).to_bytes(width, order)
            case "cut":
                del bad[at:]
            case "delete":
                del bad[at:end]
            case "repeat":
                bad[at:at] = bytes(bad[at:end]) * rng.choice((1, 2, 100))
            case "insert":
                bad[at:at] = rng.randbytes(end - at)
            case "splice":
                bad[at:] = other[start:]
            case "swap":
                bad[at:end] = other[start : start + end - at]
    return bytes(bad)


def _damaged_image(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Damages an image: anywhere, or within one of its parts."""
    if rng.random() < 0.3:
        return _damaged(data, other, rng)
    cut, mend = next(parts for start, parts in _PARTS.items() if data.startswith(start))
    parts = list(cut(data))
    i, j = rng.randrange(len(parts)), rng.randrange(len(parts))
    match rng.choice(("damage", "damage", "damage", "damage", "repeat", "delete", "swap")):
        case "damage":
            parts[i] = mend(_damaged_part(parts[i], parts[j], rng))
        case "repeat":
            parts[i:i] = [parts[j]] * rng.choice((1, 2, 40))
        case "delete":
            del parts[i]
        case "swap":
            parts[i], parts[j] = parts[j], parts[i]
    bad = b"".join(parts)
    if bad.startswith(b"RIFF") and rng.random() < 0.9:
        bad = bad[:4] + struct.pack("<I", len(bad) - 8) + bad[8:]
    return bad


def _damaged_part(part: bytes, other: bytes, rng: random.Random) -> bytes:
    if part[4:8] == b"IDAT" and rng.random() < 0.7:  # Damages the data inside of the compression.
        return part[:8] + zlib.compress(_damaged(zlib.decompress(part[8:-4]), other, rng)) + part[-4:]
    return _damaged(part, other, rng)


def _png(data: bytes) -> Iterator[bytes]:
    """Signature, chunks."""
    yield data[:8]
    at = 8
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        yield data[at:end]
        at = end


def _mend_png(part: bytes) -> bytes:
    if len(part) < 12:
        return part
    return struct.pack(">I", len(part) - 12) + part[4:-4] + struct.pack(">I", zlib.crc32(part[4:-4]))


def _jpeg(data: bytes) -> Iterator[bytes]:
    """Segments, and between them the scans."""
    at = 0
    while at < len(data):
        has_length = data[at + 1] not in (0xD8, 0xD9)
        end = at + 2 + has_length * int.from_bytes(data[at + 2 : at + 4])
        yield data[at:end]
        marker = re.search(rb"\xff[^\x00\xd0-\xd7]", data[end:])
        at = end + marker.start() if marker else len(data)
        if at > end:
            yield data[end:at]


def _mend_jpeg(part: bytes) -> bytes:
    is_segment = len(part) >= 4 and part[0] == 0xFF and 0xC0 <= part[1] <= 0xFE
    return part[:2] + struct.pack(">H", (len(part) - 2) & 0xFFFF) + part[4:] if is_segment else part


def _webp(data: bytes) -> Iterator[bytes]:
    """Head of the file, chunks."""
    yield data[:12]
    at = 12
    while at < len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        yield data[at : at + 8 + size + size % 2]
        at += 8 + size + size % 2


def _mend_webp(part: bytes) -> bytes:
    return part[:4] + struct.pack("<I", len(part) - 8) + part[8:] + bytes(len(part) % 2) if len(part) > 12 else part


def _gif(data: bytes) -> Iterator[bytes]:
    """Screen, colours, and blocks with their sub-blocks."""
    at = 13 + _gif_colours(data[10])
    yield data[:13]
    yield data[13:at]
    while at < len(data) and data[at] in b"!,":
        start = at
        at += 11 + _gif_colours(data[at + 9]) if data[at] == ord(",") else 2
        while data[at]:
            at += 1 + data[at]
        at += 1
        yield data[start:at]
    yield data[at:]


def _gif_colours(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _bmp(data: bytes) -> Iterator[bytes]:
    """Head of the file, head of the image, colours and pixels."""
    yield data[:14]
    yield data[14:54]
    yield data[54:]


def _as_it_is(part: bytes) -> bytes:
    return part


# How a file starts -> how it is cut into parts, and how the lengths and checksums of one are made to fit again.
_PARTS: dict[bytes, tuple[Callable[[bytes], Iterator[bytes]], Callable[[bytes], bytes]]] = {
    b"\xff\xd8": (_jpeg, _mend_jpeg),
    b"\x89PNG": (_png, _mend_png),
    b"RIFF": (_webp, _mend_webp),
    b"GIF8": (_gif, _as_it_is),
    b"BM": (_bmp, _as_it_is),
}


class Rounds:
    """Rounds of cases, and what came of them.

    Attributes:
        counts: of cases, by what came of them; the tests count, and look at the shares at the end.
    """

    def __init__(self, name: str):
        self.counts: Counter[str] = Counter()
        self._name = name

    def least(self, number: int) -> Iterator[random.Random]:
        """Yields a source of randomness for each round.

        Args:
            number: of rounds, if FUZZ_SECONDS does not ask for more. It does not depend on the speed of the machine.

        Raises:
            AssertionError: a round took too long.
        """
        end = time.monotonic() + _SECONDS
        for i in itertools.count():
            start = time.monotonic()
            if i >= number and start > end:
                break
            yield random.Random(f"{self._name} {_SEED} {i}")
            seconds = time.monotonic() - start
            assert seconds < _MAX_ROUND_SECONDS, f"FUZZ_SEED={_SEED}: round {i} of {self._name} took {seconds:.0f} s"
        print(f"\n{self._name}: {i} rounds, {self.counts.total()} cases: {dict(self.counts)}")


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> Rounds:
    """Returns the rounds of a test."""
    return Rounds(request.node.name)


@pytest.fixture(scope="session")
def damaged() -> Damage:
    """Returns the function that damages any bytes; see `_damaged`."""
    return _damaged


@pytest.fixture(scope="session")
def damaged_image() -> Damage:
    """Returns the function that damages an image; see `_damaged_image`."""
    return _damaged_image
