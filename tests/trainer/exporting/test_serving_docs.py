"""The programs of docs/serving.md and docs/using.md run as they stand there, and find the label of a photograph."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from multihot import flags
from trainer import export, train
from trainer.config import TrainConfig

_ROOT = Path(__file__).parents[3]
_RUNTIMES = {"tensorflow": (), "onnxruntime": ("onnx", "tf2onnx"), "ai_edge_litert": ()}
_FORMATS = {"tensorflow": "saved_model", "onnxruntime": "onnx", "ai_edge_litert": "litert"}


@pytest.fixture(scope="module")
def here(recipe: Callable[..., TrainConfig], source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs/first and photo.jpg."""
    folder = tmp_path_factory.mktemp("here")
    train.train_and_evaluate(recipe("", output=str(folder / "runs/first"), image_size=16, epochs=1, batch_size=16))
    shutil.copyfile(source / "images" / "rgb.jpg", folder / "photo.jpg")
    return folder


def _programs(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", (_ROOT / "docs" / page).read_text(), re.MULTILINE | re.DOTALL)


def _run(program: str, folder: Path, *options: str, **environment: str) -> str:
    command = [sys.executable, *options, "-c", program]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize("runtime", _RUNTIMES)
def test_the_programs_that_serve_run_without_our_packages(runtime: str, here: Path) -> None:
    for package in (runtime, *_RUNTIMES[runtime]):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install 'multihot[export]'")
    options = [f"--run={here / 'runs/first'}", f"--formats={_FORMATS[runtime]}", "--overwrite", "--compare=1"]
    export.main(flags.parse(export.USAGE, ["export", *options]))
    (program,) = (
        program for program in _programs("serving.md") if re.search(rf"^(import|from) {runtime}", program, re.M)
    )
    lines = _run(program, here, "-I").splitlines()
    assert [line.split()[0] for line in lines] == ["blue", "green", "red", "yellow"]
    assert all(re.fullmatch(r"\w+ [01]\.\d{3} (True|False)", line) for line in lines)


@pytest.mark.slow
def test_the_programs_that_use_a_model_run(here: Path) -> None:
    first, second = _programs("using.md")
    assert _run(first, here, PYTHONPATH=str(_ROOT)).startswith("Prediction(probabilities={'blue': ")
    assert _run(second, here, PYTHONPATH=str(_ROOT)).endswith(" True\n")
