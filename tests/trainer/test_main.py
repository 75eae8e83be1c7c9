"""The command line: its flags are the fields of TrainConfig, and a mistake is one sentence and a status."""

import dataclasses
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from trainer import config, main
from trainer.config import TrainConfig

CHECKOUT = Path(__file__).parents[2]

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.slow
def test_the_program_itself_says_what_is_wrong(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "trainer", f"--data={tmp_path}", f"--output={tmp_path / 'run'}"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr == (
        f"error: {tmp_path} is not a dataset: it has no manifest.json. Make one with `python -m converter`.\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_program_is_interrupted_while_it_imports(sent: int, status: int, data: Path, tmp_path: Path) -> None:
    code = (
        "import os, runpy, sys\n"
        "def hook(event, args):\n"
        "    if event == 'import' and args[0] == 'tensorflow':\n"
        f"        os.kill(os.getpid(), {sent})\n"
        "sys.addaudithook(hook)\n"
        f"sys.argv = ['-m', '--data={data}', '--output={tmp_path / 'run'}']\n"
        "runpy.run_module('trainer', run_name='__main__', alter_sys=True)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=60
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (status, "", "Interrupted.\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(
            ["--train_split=training"],
            "error: There are no images to train on: there is no split 'training', which --train_split names. Images "
            "by split: jpegs (10), modes (14), train (48), validation (21). Add --train_split=train",
            id="a missing split to train on",
        ),
        pytest.param(
            ["--validation_split=test"],
            "error: There are no images to evaluate on: there is no split 'test', which --validation_split names. "
            "Images by split: jpegs (10), modes (14), train (48), validation (21). Add --validation_split=validation",
            id="a missing split to evaluate on",
        ),
        pytest.param(
            ["--lerning_rate=1"],
            "error: Unknown flag --lerning_rate. Did you mean --learning_rate?",
            id="an unknown flag",
        ),
        pytest.param(["--loss=mse"], "flag --loss=mse: value should be one of", id="an unknown loss"),
        pytest.param(["--epochs=many"], "flag --epochs=many", id="a word for a number"),
        pytest.param(["--epochs=0"], "error: --epochs must be at least 1. Received: 0", id="no epochs"),
        pytest.param(["--data_weights=1,2"], "error: --data_weights must have a weight for each --data", id="weights"),
        pytest.param(
            ["--data_weights=a"], "error: --data_weights must be numbers, as in 3,1. Received: a", id="a word"
        ),
        pytest.param(["--classes=red,pink"], "has no pink. It has: blue, green, red, yellow", id="an unknown class"),
        pytest.param(["labels.csv"], "error: Unexpected argument 'labels.csv'", id="an argument that is no flag"),
        pytest.param(["--model=vgg_17"], "error: --model=vgg_17 is unknown.", id="an unknown model"),
        pytest.param(
            ["--model=vgg16", "--image_size=16"],
            "error: --model=vgg16 with --image_size=16: Input size must be at least 32x32",
            id="images too small for the model",
        ),
        pytest.param(
            ["--weights=missing.h5"],
            "a file of weights, or the folder of a run. There is no file missing.h5",
            id="a missing file of weights",
        ),
        pytest.param(["--flagfile=missing.flags"], "missing.flags", id="a missing file of flags"),
    ],
)
def test_a_mistake_is_a_sentence_and_leaves_nothing(
    arguments: list[str], sentence: str, command: Command, data: Path, tmp_path: Path
) -> None:
    ended = command(f"--data={data}", f"--output={tmp_path / 'run'}", *arguments)
    assert ended.returncode == 1
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        pytest.param(["--output=run"], "--data", id="no data"),
        pytest.param(["--data=dataset"], "--output", id="no output"),
    ],
)
def test_data_and_output_are_required(arguments: list[str], flag: str, command: Command) -> None:
    ended = command(*arguments)
    assert ended.returncode == 1
    first, usage, example, _ = ended.stderr.splitlines()
    assert first == f"error: {flag} is required."
    assert usage.startswith("usage: ")
    assert example.startswith("example: ")


def test_help_names_every_flag(command: Command) -> None:
    ended = command("--help")
    assert "Traceback" not in ended.stderr
    for field in dataclasses.fields(TrainConfig):
        assert re.search(rf"^  --{field.name}[= ]", ended.stdout, re.MULTILINE), field.name


@pytest.mark.parametrize(
    ("name", "output", "expected"),
    [
        pytest.param(
            "/checkout/trainer/__main__.py",
            "runs/first",
            [
                "Run: runs/first (model.keras, evaluation.json, training.png, samples.png)",
                "To load the model:  runs/first/MODEL_CARD.md",
                "To evaluate it:     python -m trainer.evaluate --run=runs/first",
                "To predict:         python -m trainer.predict --run=runs/first photo.jpg folder/",
                "To export it:       python -m trainer.export --run=runs/first --formats=saved_model,onnx,litert,keras",
                "To compare runs:    python -m trainer.runs runs",
                "To see its curves:  tensorboard --logdir=runs",
            ],
            id="python -m",
        ),
        pytest.param(
            "multihot train",
            "/my runs/first/",
            [
                "Run: /my runs/first/ (model.keras, evaluation.json, training.png, samples.png)",
                "To load the model:  /my runs/first/MODEL_CARD.md",
                "To evaluate it:     multihot evaluate --run='/my runs/first/'",
                "To predict:         multihot predict --run='/my runs/first/' photo.jpg folder/",
                "To export it:       multihot export --run='/my runs/first/' --formats=saved_model,onnx,litert,keras",
                "To compare runs:    multihot runs '/my runs'",
                "To see its curves:  tensorboard --logdir='/my runs'",
            ],
            id="our command, and a folder with a blank",
        ),
        pytest.param(
            "/venv/bin/multihot-train", "first", ["To compare runs:    multihot runs ."], id="no folder above"
        ),
    ],
)
def test_the_end_names_the_commands_that_one_needs_next(
    name: str, output: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [name])
    found = main.next_steps(output).splitlines()
    assert len(found) == 7
    assert found == expected if len(expected) == 7 else set(expected) <= set(found)


def test_a_folder_above_the_dataset_names_the_dataset(command: Command, data: Path, tmp_path: Path) -> None:
    ended = command(f"--data={data.parent}", f"--output={tmp_path / 'run'}")
    assert ended.stderr == f"error: {data.parent} is not a dataset, but these are: {data}.\n"
    assert ended.returncode == 1


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_the_run(command: Command, data: Path, tmp_path: Path) -> None:
    ended = command(
        f"--data={data}",
        f"--output={tmp_path / 'run'}",
        "--image_size=16",
        "--batch_size=8",
        "--augment=none",
        "--schedule=constant",
        "--learning_rate=1e30",
        "--epochs=2",
        "--cache=disk",
    )
    assert ended.returncode == 1
    assert "error: The loss is nan after step 2 of epoch 1" in ended.stderr
    assert "--learning_rate" in ended.stderr
    assert "last.keras" not in ended.stderr  # There is none yet.
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "run" / "model.keras").exists()


def test_a_damaged_shard_is_named(command: Command, data: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(data, tmp_path / "copy"))
    shard = copy / "train" / "train-00001-of-00003.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-100])
    ended = command(f"--data={copy}", f"--output={tmp_path / 'run'}", "--image_size=8", "--epochs=1")
    assert ended.returncode == 1
    assert f"error: {copy}: these shards are missing, or differ from the manifest: " in ended.stderr
    assert "train/train-00001-of-00003.tfrecord" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_benchmark_input_names_the_slower_part_and_leaves_nothing(command: Command, data: Path, tmp_path: Path) -> None:
    ended = command("--benchmark_input", f"--data={data}", "--image_size=16", "--batch_size=8")
    assert ended.returncode == 0, ended.stderr
    # Before them, the package of the weights, where it is installed.
    *_, cache, throughput = ended.stdout.splitlines()
    assert cache.startswith("Cache: decoded images (0 MB) in memory, with ")
    assert re.fullmatch(
        r"Throughput: input [\d,]+, model [\d,]+, together [\d,]+ images/s\. "
        r"Reading the input takes \d+\.\d% of the time of a step\. The (model|input) is slower than .*--.*\.",
        throughput,
    )
    assert list(tmp_path.iterdir()) == []


def test_the_flags_are_the_fields_of_the_configuration(command: Command) -> None:
    listed = ElementTree.fromstring(command("--helpxml").stdout).findall("flag")
    flags = {flag.findtext("name"): flag for flag in listed if flag.findtext("file") == "multihot.flags"}
    fields = {field.name: field for field in dataclasses.fields(TrainConfig)}
    # Instead of a run.
    assert flags.pop("benchmark_input").findtext("default") == "false"
    assert set(flags) == set(fields)
    for name, flag in flags.items():
        assert name is not None
        field = fields[name]
        default = "" if field.default in (dataclasses.MISSING, ()) else str(field.default)
        if field.default is None:  # It depends on the model and its weights. absl has no text for None but with bool.
            assert flag.findtext("default") == ("None" if field.type is bool else ""), name
        else:
            assert flag.findtext("default") == (default.lower() if field.type is bool else default), name
        several = {"data": "multi string", "data_weights": "comma separated list of strings"}
        for other in ("classes", "train_sizes", "data_service"):
            several[other] = several["data_weights"]
        kind = several.get(name) or {bool: "bool", int: "int", float: "float", str: "string"}[field.type]
        assert flag.findtext("type") == ("string enum" if name in config.CHOICES else kind), name
        assert tuple(value.text for value in flag.findall("enum_value")) == config.CHOICES.get(name, ()), name
