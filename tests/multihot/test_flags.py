"""The flags of a program follow from the fields of a dataclass, and the values of the fields from the flags."""

import dataclasses

import pytest
from absl import flags as absl_flags

from converter.options import ConvertOptions
from multihot import flags
from multihot.errors import UserError
from multihot.settings import choices, default_of, flag_name, setting, settings
from multihot.usage import Usage
from trainer.config import TrainConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Config:
    folders: tuple[str, ...] = dataclasses.field(metadata=setting("Folders.", repeated=True))
    output: str = dataclasses.field(metadata=setting("Output."))
    size: int = dataclasses.field(default=3_000, metadata=setting("Size, in kB.", flag="kb", unit=1000))
    threads: int | None = dataclasses.field(default=None, metadata=setting("Threads."))
    rate: float = dataclasses.field(default=0.5, metadata=setting("Rate."))
    names: tuple[str, ...] = dataclasses.field(default=(), metadata=setting("Names."))
    weights: tuple[float, ...] = dataclasses.field(
        default=(), metadata=setting("Weights.", parse=lambda values: tuple(map(float, values)))
    )
    parts: tuple[int, ...] = dataclasses.field(
        default=(1, 2), metadata=setting("Parts.", text="1+2", parse=lambda text: tuple(map(int, text.split("+"))))
    )
    kind: str = dataclasses.field(default="a", metadata=setting("Kind.", choices=("a", "b")))
    overwrite: bool = dataclasses.field(default=False, metadata=setting("Overwrite."))


def _parse(*arguments: str) -> absl_flags.FlagValues:
    values = absl_flags.FlagValues()
    flags.define(_Config, values)
    values(["program", *arguments])
    return values


def test_values_of_the_fields_are_read_from_the_flags() -> None:
    values = _parse("--folders=a", "--folders=b", "--kb=7", "--threads=2", "--weights=3,1", "--names=x,y", "--kind=b")
    assert flags.read(_Config, values) == {
        "folders": ("a", "b"),
        "output": None,
        "size": 7_000,
        "threads": 2,
        "rate": 0.5,
        "names": ("x", "y"),
        "weights": (3.0, 1.0),
        "parts": (1, 2),
        "kind": "b",
        "overwrite": False,
    }


def test_a_value_that_is_no_choice_is_refused() -> None:
    with pytest.raises(absl_flags.IllegalFlagValueError, match=r"should be one of <a\|b>"):
        _parse("--folders=a", "--kind=c")


def test_a_field_without_a_default_is_required() -> None:
    usage = Usage("program", "--folders=FOLDER --output=FOLDER", "--folders=a --output=b")
    for arguments, missing in (
        ((), "--folders"),
        (("--folders=a",), "--output"),
        (("--output=", "--folders=a"), "--output"),
    ):
        with pytest.raises(UserError, match=f"^{missing} is required.\nusage: "):
            flags.check_required(_Config, flags.read(_Config, _parse(*arguments)), usage)
    flags.check_required(_Config, {"folders": ("a",), "output": "b"}, usage)


def test_choices_are_listed_by_field() -> None:
    assert choices(_Config) == {"kind": ("a", "b")}


@pytest.mark.parametrize("config", [_Config, ConvertOptions, TrainConfig])
def test_the_default_of_a_flag_gives_the_default_of_its_field(config: type) -> None:
    for field, one in settings(config).items():
        if field.default is dataclasses.MISSING:
            continue
        assert flags._value(one, default_of(field)) == field.default, flag_name(field)


@pytest.mark.parametrize("config", [ConvertOptions, TrainConfig])
def test_every_field_has_a_sentence_of_help(config: type) -> None:
    for field, one in settings(config).items():
        assert one.help.endswith((".", "...")), field.name
