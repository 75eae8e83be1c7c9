"""The reader of weights takes tensors out of a file of PyTorch, and refuses whatever else a pickle may hold."""

import collections
import io
import os
import pickle
import pickletools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multihot.errors import UserError
from trainer.models import pytorch_file

_MAGIC = 0x1950A86A20F9469CFC6C


class _Named:
    """An object that a pickle names as a function or a class of some module."""

    def __init__(self, name: str):
        self.name = name


class _Called:
    """An object that a pickle makes by a call of a function that it names."""

    def __init__(self, function: Any, *arguments: Any):
        self.function, self.arguments = function, arguments


class _Storage(tuple[Any, ...]):
    """A persistent identifier."""


class _Pickler(pickle._Pickler):  # type: ignore[misc, name-defined, unused-ignore]  # In Python: its methods can be added to.
    def persistent_id(self, obj: Any) -> Any:
        return tuple(obj) if isinstance(obj, _Storage) else None

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, _Named):
            self.write(b"c" + obj.name.replace(" ", "\n").encode() + b"\n")
        elif isinstance(obj, _Called):
            self.save(obj.function)
            self.save(tuple(obj.arguments))
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


def _pickled(value: Any) -> bytes:
    file = io.BytesIO()
    _Pickler(file, 2).dump(value)
    return file.getvalue()


_FLOAT, _LONG = _Named("torch FloatStorage"), _Named("torch LongStorage")
_REBUILD = _Named("torch._utils _rebuild_tensor_v2")


def _tensor(key: str, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0, kind: Any = _FLOAT) -> _Called:
    storage = _Storage(("storage", kind, key, "cpu", 12, None))
    return _Called(_REBUILD, storage, offset, shape, strides, False, collections.OrderedDict())


def _file(tensors: Any, storages: dict[str, np.ndarray] | None = None, info: Any = None) -> bytes:
    storages = {"0": np.arange(12, dtype="<f4")} if storages is None else storages
    parts = [_pickled(_MAGIC), _pickled(1001), _pickled(info or {"little_endian": True})]
    parts += [_pickled(tensors), _pickled(list(storages))]
    parts += [struct.pack("<q", len(values)) + values.tobytes() for values in storages.values()]
    return b"".join(parts)


def test_reads_tensors_as_views_of_storages() -> None:
    found = pytorch_file.parse(
        _file(
            {
                "rows": _tensor("0", (3, 4), (4, 1)),
                "columns": _tensor("0", (4, 3), (1, 4)),
                "last": _tensor("0", (2,), (3,), offset=8),
                "whole number": _tensor("1", (), (), kind=_LONG),
            },
            {"1": np.array([7], "<i8"), "0": np.arange(12, dtype="<f4")},
        )
    )
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(found["rows"], rows)
    np.testing.assert_array_equal(found["columns"], rows.T)
    np.testing.assert_array_equal(found["last"], [8, 11])
    np.testing.assert_array_equal(found["whole number"], 7)
    assert [found["rows"].dtype, found["whole number"].dtype] == [np.float32, np.int64]


def _refused(content: bytes) -> str:
    with pytest.raises(UserError) as caught:
        pytorch_file.parse(content)
    message = str(caught.value)
    assert message.startswith("This is not a file of weights as PyTorch wrote them before 1.6: ")
    return message


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        pytest.param("os system", ("touch {mark}",), id="a command"),
        pytest.param("posix system", ("touch {mark}",), id="a command by another name"),
        pytest.param("builtins open", ("{mark}", "w"), id="a file"),
        pytest.param("builtins eval", ("open('{mark}', 'w')",), id="an expression"),
        pytest.param("builtins getattr", ("", "format"), id="an attribute"),
        pytest.param("torch._utils os.system", ("touch {mark}",), id="a dotted name"),
        pytest.param("torch load", ("{mark}",), id="another function of torch"),
        pytest.param("torch HalfStorage", (), id="a storage that is not read"),
        pytest.param("collections Counter", (), id="another class of collections"),
        pytest.param("numpy load", ("{mark}",), id="numpy"),
    ],
)
def test_a_pickle_that_names_a_function_is_refused_and_nothing_is_called(
    function: str, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    mark = tmp_path / "called"
    call = _Called(_Named(function), *(text.format(mark=mark) for text in arguments))
    # In the place of tensors, in that of a tensor, and in each of the other pickles.
    for content in (
        _file(call),
        _file({"weight": call}),
        _file({"weight": _tensor("0", (3, 4), (4, 1))}, info={"little_endian": True, "hook": call}),
        _pickled(call),
        _pickled(_MAGIC) + _pickled(call),
    ):
        assert f"{function.replace(' ', '.')} is not allowed" in _refused(content)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "tensors",
    [
        pytest.param({"weight": 7}, id="a number"),
        pytest.param({7: _tensor("0", (2,), (1,))}, id="a name that is a number"),
        pytest.param([_tensor("0", (2,), (1,))], id="a list"),
        pytest.param({"weight": _tensor("0", (13,), (1,))}, id="one value too many"),
        pytest.param({"weight": _tensor("0", (3, 4), (4, 2))}, id="a stride too long"),
        pytest.param({"weight": _tensor("0", (2,), (-1,), offset=3)}, id="a negative stride"),
        pytest.param({"weight": _tensor("0", (2,), (1,), offset=-1)}, id="a negative offset"),
        pytest.param({"weight": _tensor("0", (2,), (1,), offset=2**70)}, id="an offset beyond all memory"),
        pytest.param({"weight": _tensor("0", (2, 3), (1,))}, id="fewer strides than dimensions"),
        pytest.param({"weight": _tensor("0", (0,), (1,))}, id="no value"),
        pytest.param({"weight": _tensor("7", (2,), (1,))}, id="a storage that is not there"),
        pytest.param({"weight": _Called(_REBUILD, "no storage", 0, (2,), (1,))}, id="no storage"),
        pytest.param({"weight": _Called(_FLOAT, 3)}, id="a storage that is called"),
        pytest.param({"weight": _Storage(("module", _FLOAT, "0", "cpu", 12, None))}, id="another persistent object"),
        pytest.param({"weight": _tensor("0", (2,), (1,), kind="O")}, id="a type of objects"),
    ],
)
def test_anything_but_tensors_within_their_storages_is_refused(tensors: Any) -> None:
    _refused(_file(tensors))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: b"PK\3\4" + content, id="a zip, as PyTorch writes since 1.6"),
        pytest.param(lambda content: content[:-1], id="a byte is missing"),
        pytest.param(lambda content: content[:60], id="most is missing"),
        pytest.param(lambda content: content.replace(_pickled(1001), _pickled(1002)), id="another version"),
        pytest.param(lambda content: content.replace(_pickled(_MAGIC), _pickled(7)), id="another number"),
        pytest.param(
            lambda content: content.replace(struct.pack("<q", 12), struct.pack("<q", -1)), id="a negative length"
        ),
    ],
)
def test_a_damaged_file_is_refused(damage: Callable[[bytes], bytes]) -> None:
    whole = _file({"weight": _tensor("0", (3, 4), (4, 1))})
    pytorch_file.parse(whole)
    _refused(damage(whole))


def test_the_hostile_pickles_do_what_they_say_where_pickle_reads_them(tmp_path: Path) -> None:
    content = _pickled(_Called(_Named("builtins open"), str(tmp_path / "called"), "w"))
    pickletools.dis(content, io.StringIO())
    pickle.loads(content).close()
    assert os.listdir(tmp_path) == ["called"]
