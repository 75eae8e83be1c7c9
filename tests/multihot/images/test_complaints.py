"""Complaints of libjpeg: those of damage reject the image, and harmless ones change nothing."""

import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import tensorflow as tf
from numpy.typing import NDArray

from converter.rejects import Reason
from multihot.images import complaints, jpeg, prove
from multihot.images.headers import ImageError
from multihot.images.prove import Preparation

Draw = Callable[..., bytes]

_PREPARATION = Preparation(max_pixels=10**6)
_KEEPING = Preparation(max_pixels=10**6, keep_damaged=True)
_KINDS: list[dict[str, Any]] = [
    {},
    {"mode": "L"},
    {"mode": "CMYK"},
    {"progressive": True},
    {"mode": "L", "progressive": True},
    {"mode": "CMYK", "progressive": True},  # Of 18 scans.
    {"restart_marker_blocks": 3},
    {"progressive": True, "restart_marker_rows": 1},
    {"subsampling": "4:4:4"},
    {"keep_rgb": True},
    {"quality": 100, "optimize": True},
    {"icc_profile": b"a profile"},
    {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"},
]
_PREMATURE = "Corrupt JPEG data: premature end of data segment"


def _pixels(data: bytes) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE").numpy()
    return pixels


def _codes(data: bytes) -> tuple[int, int]:
    """Returns where the codes of the first scan start and end."""
    scan = data.index(b"\xff\xda")
    start = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4])
    end = re.compile(rb"\xff[^\x00\xd0-\xd7]", re.DOTALL).search(data, start)
    assert end
    return start, end.start()


def _check_harmless(data: bytes, words: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Checks that a JPEG is stored as it is, has the pixels of TensorFlow, and that nothing is printed."""
    assert re.fullmatch(words, complaints.complaint(data))
    capfd.readouterr()
    image = prove.prepare(data, _PREPARATION)
    assert prove.size(data, 10**6) == (image.height, image.width)
    decoded = prove.decode(data, "jpeg")
    assert capfd.readouterr() == ("", "")
    assert (image.data, image.damage) == (data, "")
    np.testing.assert_array_equal(decoded, _pixels(data))


def _check_damaged(data: bytes, words: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Checks that a JPEG is rejected in the words of libjpeg, and kept with all that can be decoded when asked."""
    capfd.readouterr()
    with pytest.raises(ImageError) as caught:
        prove.prepare(data, _PREPARATION)
    assert caught.value.args[0] == Reason.CORRUPT_IMAGE
    assert re.fullmatch(f"jpeg: ({words})", caught.value.args[1])
    kept = prove.prepare(data, _KEEPING)
    assert capfd.readouterr() == ("", "")
    assert f"jpeg: {kept.damage}" == caught.value.args[1]
    assert complaints.complaint(kept.data) == ""
    assert (kept.format, kept.oriented, kept.resized) == ("jpeg", False, False)
    difference = _pixels(kept.data).astype(int) - jpeg.decode(complaints.hear(data).data)
    assert np.abs(difference).mean() < 4


@pytest.mark.parametrize("kind", _KINDS, ids=str)
def test_good_jpegs_of_all_kinds_are_stored_as_they_are(
    draw: Draw, kind: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    data = draw(width=80, height=60, **kind)
    behind = draw(1, width=40, height=30)
    second = data.index(b"\xff", 4)
    variants = {
        "plain": data,
        "bytes behind the end": data + b"\0 behind",
        "a picture behind it": data + behind,
        "FF before markers": data[:second] + b"\xff\xff" + data[second:-2] + b"\xff\xff\xff\xd9",
    }
    for name, variant in variants.items():
        for preparation in (_PREPARATION, _KEEPING):
            image = prove.prepare(variant, preparation)
            assert (image.data, image.height, image.width, image.damage) == (variant, 60, 80, ""), name
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", _KINDS, ids=str)
def test_harmless_complaints_pass(draw: Draw, kind: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    data = draw(width=80, height=60, **kind)
    at = data.index(b"\xff", 4)
    extraneous = r"Corrupt JPEG data: \d+ extraneous bytes before marker 0x[0-9a-f]{2}"
    _check_harmless(data[:at] + b"junk" + data[at:], extraneous, capfd)
    for behind in (b"\0" * 30, b"some words behind the codes", b"\xff\0" * 20, random.Random(0).randbytes(30)):
        behind = behind if set(behind) == {0, 255} else behind.replace(b"\xff", b"\xfe")
        _check_harmless(data[:-2] + behind + data[-2:], extraneous, capfd)
    if b"JFIF\0" in data:
        at = data.index(b"JFIF\0") + 5
        newer = data[:at] + b"\x09" + data[at + 1 :]
        _check_harmless(newer, r"Warning: unknown JFIF revision number 9\.\d\d", capfd)
        # The first complaint hides the others.
        _check_harmless(newer[:-2] + bytes(30) + newer[-2:], r"Warning: unknown JFIF .*", capfd)
    if not kind.get("progressive"):
        start, _ = _codes(data)
        other = data[: start - 3] + bytes(3) + data[start:]
        _check_harmless(other, "Invalid SOS parameters for sequential JPEG", capfd)


def test_a_broken_profile_is_harmless(draw: Draw, capfd: pytest.CaptureFixture[str]) -> None:
    data = draw(icc_profile=b"a profile")
    at = data.index(b"ICC_PROFILE\0") + 12
    _check_harmless(data[:at] + b"\x05" + data[at + 1 :], "Corrupt JPEG data: bad ICC marker", capfd)


@pytest.mark.parametrize("kind", _KINDS, ids=str)
def test_codes_that_are_missing_are_damage(draw: Draw, kind: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    data = draw(width=80, height=60, **kind)
    start, end = _codes(data)
    middle = (start + end) // 2
    # The end stands where a restart marker should.
    words = (
        rf"{_PREMATURE}|Corrupt JPEG data: found marker 0xd9 instead of RST\d" if "restart" in str(kind) else _PREMATURE
    )
    _check_damaged(data[:middle] + b"\xff\xd9", words, capfd)
    _check_damaged(data[:middle], "Premature end of JPEG file", capfd)
    at = data.find(b"JFIF\0") + 5
    if at > 4:  # A harmless complaint does not hide the damage.
        _check_damaged(data[:at] + b"\x09" + data[at + 1 : middle], "Premature end of JPEG file", capfd)


def test_a_restart_marker_that_is_missing_is_damage(draw: Draw, capfd: pytest.CaptureFixture[str]) -> None:
    data = draw(width=80, height=60, restart_marker_blocks=3)
    start, _ = _codes(data)
    at = data.index(b"\xff\xd3", start)
    _check_damaged(data[:at] + data[at + 2 :], "Corrupt JPEG data: .*", capfd)
    extraneous = "Corrupt JPEG data: .* extraneous bytes before marker 0xd3"
    _check_damaged(data[:at] + b"0123456789" + data[at:], extraneous, capfd)


def test_another_code_of_adobe_is_damage(draw: Draw, capfd: pytest.CaptureFixture[str]) -> None:
    data = draw(keep_rgb=True)
    at = data.index(b"Adobe") + 11
    _check_damaged(data[:at] + b"\7" + data[at + 1 :], "Unknown Adobe color transform code 7", capfd)


def test_nothing_is_kept_of_what_cannot_be_decoded(draw: Draw) -> None:
    data = draw()
    for bad in (data.replace(b"\xff\xdb", b"\xff\xed"), data[: data.index(b"\xff\xda")], data[:200]):
        with pytest.raises(ImageError) as caught:
            prove.prepare(bad, _KEEPING)
        assert caught.value.args[0] == Reason.CORRUPT_IMAGE


def test_what_is_kept_is_turned_and_resized(draw: Draw) -> None:
    data = draw(width=80, height=60, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0")
    start, end = _codes(data[data.rindex(b"\xff\xc0") :])
    middle = data.rindex(b"\xff\xc0") + (start + end) // 2
    image = prove.prepare(data[:middle], Preparation(max_pixels=10**6, keep_damaged=True, resize_shorter=30))
    assert (image.height, image.width, image.oriented, image.resized) == (40, 30, True, True)
    assert image.damage == "Premature end of JPEG file"


def _damaged(data: bytes, kind: str, rng: random.Random) -> bytes:
    start, end = _codes(data)
    at = rng.randrange(start, end - 1)
    stop = min(end, at + rng.choice((1, 2, 16, 64, 300)))
    match kind:
        case "flipped":
            return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        case "zero":
            return data[:at] + bytes(stop - at) + data[stop:]
        case "missing":
            return data[:at] + data[stop:]
        case "random":
            return data[:at] + rng.randbytes(stop - at) + data[stop:]
    return data[:at] + (b"" if kind == "cut" else b"\xff\xd9")


def _is_seen(data: bytes, good: NDArray[np.uint8]) -> bool:
    try:
        pixels = jpeg.decode(data)
    except ValueError:
        return True
    return pixels.shape != good.shape or (np.abs(pixels.astype(int) - good).max(axis=2) > 24).mean() > 0.01


@pytest.mark.slow
def test_damage_to_real_photographs(miml: Path) -> None:
    """Prints the table of docs/rejects.md: `pytest -s`."""
    rng = random.Random(1)
    counts: dict[str, Counter[str]] = {}
    for path in rng.sample(sorted((miml / "images").iterdir()), 500):
        data = path.read_bytes()
        good = simplejpeg.decode_jpeg(data)
        for kind in ("cut", "cut, with an end", "missing", "random", "zero", "flipped") * 2:
            bad = _damaged(data, kind, rng)
            words, heard = complaints.complaint(bad), complaints.hear(bad)
            if not heard.damage:  # Then the copy has the pixels of the file.
                np.testing.assert_array_equal(jpeg.decode(heard.data), _pixels(bad))
                assert complaints.complaint(heard.data) == ""
            if _is_seen(heard.data, good):
                result = "named" if heard.damage else "harmless" if words else "no complaint"
                counts.setdefault(kind, Counter())[result] += 1
                if "extraneous bytes before marker 0xd9" in words:
                    counts.setdefault("codes left over", Counter())[result] += 1
    for kind, found in counts.items():
        print(f"{kind}: {found.total()} visible, {found['named'] / found.total():.0%} detected, {dict(found)}")
        least = {"cut": 1, "cut, with an end": 1, "missing": 0.6, "random": 0.6, "zero": 0.45, "flipped": 0.35}
        assert found["named"] >= least.get(kind, 0.6) * found.total()


@pytest.mark.slow
def test_the_real_photographs_are_sound_with_bytes_behind_their_codes(miml: Path) -> None:
    rng = random.Random(1)
    for path in (miml / "images").iterdir():
        data = path.read_bytes()
        assert complaints.hear(data) == ("", data)
        behind = rng.randbytes(rng.randrange(1, 60)).replace(b"\xff", b"\0")
        end = data.rindex(b"\xff\xd9")
        assert not complaints.hear(data[:end] + behind + data[end:]).damage, path
