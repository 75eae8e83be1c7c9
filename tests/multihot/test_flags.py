"""A command line becomes the settings of a program: dataclasses, from whose fields the flags are made."""

import dataclasses
import re
from typing import Any

import pytest
from absl import flags as absl_flags

from converter import diff
from converter.inspect import selection
from converter.options import ConvertOptions
from converter.report import page
from converter.verify import dataset_checks
from multihot import flags
from multihot.errors import UsageError, UserError
from multihot.settings import choices, default_of, flag_name, setting, settings
from multihot.usage import Usage
from trainer import runs
from trainer.config import TrainConfig

_TOOLS = {tool.USAGE.module: tool.USAGE for tool in (dataset_checks, selection, diff, page, runs)}
_CONFIGS = [ConvertOptions, TrainConfig, *(usage.settings[0] for usage in _TOOLS.values())]


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


_USAGE = Usage("program", "A program.", "--folders=a --output=b", (_Config,))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Base:
    common: int = dataclasses.field(default=1, metadata=setting("Common."))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Tool(_Base):
    one: str = dataclasses.field(metadata=setting("One.", value="A", positional=True))
    other: str = dataclasses.field(metadata=setting("Other.", value="B", positional=True))
    word: str | None = dataclasses.field(default=None, metadata=setting("Word."))

    def __post_init__(self) -> None:
        if self.word == "bad":
            raise UserError("--word is bad.")


_TOOL = Usage("tool", "A tool.", "a b", (_Tool,), status=3)


def _read(*arguments: str) -> dict[str, Any]:
    return flags.read(_USAGE, ["program", *arguments])


def test_values_of_the_fields_are_read_from_the_flags() -> None:
    given = _read("--folders=a", "--folders=b", "--kb=7", "--threads=2", "--weights=3,1", "--names=x,y", "--kind=b")
    assert given == {
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


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        pytest.param("--kind=c", "flag --kind=c: value should be one of <a|b>", id="no choice"),
        pytest.param("--threads=two", "flag --threads=two: must be a whole number", id="a word for a number"),
        pytest.param("--rate=half", "flag --rate=half: could not convert string to float", id="a word for a float"),
        pytest.param("--outptu=b", "Unknown flag --outptu. Did you mean --output?", id="mistyped"),
        pytest.param("--flagfil=b", "Unknown flag --flagfil. Did you mean --flagfile?", id="a flag of absl"),
        pytest.param("--flagfile=none", "Unable to open flagfile: ", id="no file of flags"),
        pytest.param("--nooverwrite=x", "--nooverwrite=x does not take an argument", id="a value for a switch"),
        pytest.param("--output", "Missing value for flag --output", id="no value"),
        pytest.param("x", "Unexpected argument 'x': every argument is a flag, as in --folders=a", id="no flag"),
    ],
)
def test_a_command_line_that_cannot_be_used_is_an_error_with_the_usage(argument: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(sentence)}") as caught:
        _read(argument)
    assert "\nusage: python -m program --folders=... --output=... [flags]\nexample: " in str(caught.value)
    assert caught.value.status == 2


def test_unknown_arguments_are_returned_to_a_program_that_asks_for_them() -> None:
    others: list[str] = []
    given = flags.read(_USAGE, ["program", "--runner=x", "--output=b", "--other", "word"], others)
    assert others == ["--runner=x", "--other", "word"]
    assert given["output"] == "b"


def test_a_field_without_a_default_is_required() -> None:
    for arguments, missing in (
        ((), "--folders"),
        (("--folders=a",), "--output"),
        (("--output=", "--folders=a"), "--output"),
    ):
        with pytest.raises(UsageError, match=f"^{missing} is required.\nusage: "):
            flags.parse(_USAGE, ["program", *arguments])
    assert flags.parse(_USAGE, ["program", "--folders=a", "--output=b"]) == _Config(folders=("a",), output="b")


@pytest.mark.parametrize(
    "arguments",
    [["a", "b", "--word=x"], ["--word", "x", "a", "b"], ["a", "-word=x", "b"], ["--word=x", "--", "a", "b"]],
)
def test_flags_stand_anywhere_among_positional_arguments(arguments: list[str]) -> None:
    assert flags.parse(_TOOL, ["tool", *arguments]) == _Tool(one="a", other="b", word="x")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "A is required."),
        (["a"], "B is required."),
        (["a", "b", "c"], "Unexpected argument 'c'."),
        (["a", "b", "--word=bad"], "--word is bad."),
    ],
)
def test_positional_arguments_are_counted_and_the_dataclass_checks_values(arguments: list[str], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        flags.parse(_TOOL, ["tool", *arguments])
    assert str(caught.value).splitlines()[:2] == [sentence, "usage: python -m tool A B [flags]"]
    assert caught.value.status == 3


@pytest.mark.parametrize("flag", ["--help", "-h", "--helpshort", "-?", "--helpfull", "--helpxml"])
def test_help_is_printed_whatever_else_is_missing(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        flags.parse(_TOOL, ["tool", "a", flag])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert ("<name>word</name>" if flag == "--helpxml" else _TOOL.help()) in shown
    assert ("--logger_levels" in shown) == (flag == "--helpfull")


def test_flags_of_absl_have_their_values() -> None:
    before = absl_flags.FLAGS["log_dir"].value
    try:
        flags.parse(_TOOL, ["tool", "a", "b", "--log_dir=logs"])
        assert absl_flags.FLAGS.log_dir == "logs"
    finally:
        absl_flags.FLAGS["log_dir"].value = before


def test_programs_leave_the_flags_of_the_process_alone() -> None:
    for usage in _TOOLS.values():
        flags.define(usage)
    assert not {"decode", "examples", "limit", "sort"} & set(absl_flags.FLAGS)


def test_inherited_settings_come_last() -> None:
    assert [field.name for field in settings(_Tool)] == ["one", "other", "word", "common"]


def test_choices_are_listed_by_field() -> None:
    assert choices(_Config) == {"kind": ("a", "b")}


@pytest.mark.parametrize("config", [_Config, *_CONFIGS])
def test_the_default_of_a_flag_gives_the_default_of_its_field(config: type) -> None:
    for field, one in settings(config).items():
        if field.default is dataclasses.MISSING:
            continue
        assert flags._value(one, default_of(field)) == field.default, flag_name(field)


@pytest.mark.parametrize("config", _CONFIGS)
def test_every_field_has_a_sentence_of_help(config: type) -> None:
    for field, one in settings(config).items():
        assert one.help.endswith((".", "...")), field.name


@pytest.mark.parametrize("usage", _TOOLS.values(), ids=_TOOLS)
def test_the_example_of_a_program_can_be_typed(usage: Usage) -> None:
    assert isinstance(flags.parse(usage, ["program", *usage.example.split()]), usage.settings[0])
