"""The examples of docs/own_loop.md run as they stand on the page, with the real libraries.

JAX and PyTorch come from environments of their own (scripts/interop_venvs), from where the interpreter of the tests
imports what it does not have itself: no environment needs a TensorFlow of its own.
"""

import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from schemas import metadata

pytestmark = pytest.mark.slow

Run = Callable[..., str]

_ROOT = Path(__file__).parents[2]
# Files of requirements, by the name of the environment.
_REQUIREMENTS = {"jax": "tests/interop/jax.txt", "pytorch": "scripts/bench/requirements/pytorch.txt"}
# Runs a program with folders from which is imported what the interpreter does not have.
_WITH_FOLDERS = "import runpy, sys; sys.path += sys.argv[2:]; runpy.run_path(sys.argv[1], run_name='__main__')"
# Two images of which nothing is copied have their bytes at the same address.
_NO_COPY = """
import numpy as np
import trainer
{imports}

for augment in ("crop", "full"):
    for batch in trainer.load("data/miml/1.0.0", image_size=32, augment=augment):
        for tensor in batch:
            shared = {shared}
            assert {address} == np.asarray(memoryview(tensor)).ctypes.data
            np.testing.assert_array_equal(np.asarray(shared), tensor.numpy())
print("shared")
"""
# Makes runs of a program the same bit for bit, and kills it right after it has saved so many checkpoints.
_KILLED = """
import os
import runpy
import sys

import tensorflow as tf

tf.config.experimental.enable_op_determinism()
save, saved = tf.train.CheckpointManager.save, []

def save_and_count(manager):
    saved.append(save(manager))
    if len(saved) == int(sys.argv[2]):
        os._exit(9)

tf.train.CheckpointManager.save = save_and_count
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.fixture(scope="module")
def examples() -> dict[str, str]:
    """Returns the programs of the page by the titles of their sections."""
    page = (_ROOT / "docs" / "own_loop.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^## ([^\n]+)\n(?:(?!\n## ).)*?^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def partly_known(
    tmp_path_factory: pytest.TempPathFactory,
    scenes: Path,
    convert_to: Callable[..., object],
    write_csv: Callable[..., Path],
) -> Path:
    """Returns the folder of a dataset of which some labels are unknown."""
    folder = tmp_path_factory.mktemp("partly_known")
    header, *rows = [line.split(",") for line in (scenes / "labels.csv").read_text(encoding="utf-8").splitlines()]
    known = [[name, first if i % 3 else "?", *more] for i, (name, first, *more) in enumerate(rows)]
    convert_to(folder / "out", csv=write_csv(folder / "labels.csv", [header, *known]), unknown_labels=("?",))
    dataset = folder / "out" / "scenes" / "1.0.0"
    assert metadata.load(str(dataset)).has_unknown
    return dataset


@pytest.fixture
def run(partly_known: Path, tmp_path: Path) -> Run:
    """Returns the function that runs a program where `data/miml/1.0.0` is a dataset, and returns what it printed."""
    (tmp_path / "data" / "miml").mkdir(parents=True)
    (tmp_path / "data" / "miml" / "1.0.0").symlink_to(partly_known)

    def run(program: str, *arguments: object, first: str = _WITH_FOLDERS, status: int = 0) -> str:
        (tmp_path / "program.py").write_text(program, encoding="utf-8")
        command = [sys.executable, "-c", first, "program.py", *map(str, arguments)]
        env = {**os.environ, "PYTHONPATH": str(_ROOT), "XDG_CACHE_HOME": str(tmp_path / "caches")}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == status, done.stderr[-5000:]
        return done.stdout

    return run


@pytest.fixture
def packages(record_property: Callable[[str, object], None]) -> Callable[[str], Path]:
    """Returns the function that finds the packages of an environment, or skips the test.

    The closing lines of the tests say which environments were there (tests/conftest.py).
    """

    def find(name: str) -> Path:
        record_property("interop", name)
        folder, requirements = _ROOT / f".venv-interop-{name}", _ROOT / _REQUIREMENTS[name]
        if (folder / ".reason").exists():
            why = " ".join((folder / ".reason").read_text().split())
            pytest.skip(f"it could not be installed: {why[:300]}")
        installed = folder / ".installed"
        if not installed.exists() or installed.read_text() != requirements.read_text():
            pytest.skip(f"run scripts/interop_venvs {name} first")
        found = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
        if not found.exists():
            pytest.skip(f"{folder.name} has another version of Python")
        return found

    return find


def _losses(printed: str) -> list[float]:
    """Returns the losses of the epochs, which are all there."""
    epochs = re.findall(r"^epoch (\d+): loss (\S+)$", printed, re.MULTILINE)
    assert [int(epoch) for epoch, _ in epochs] == list(range(5))
    return [float(loss) for _, loss in epochs]


def test_the_page_has_these_examples(examples: dict[str, str]) -> None:
    assert list(examples) == ["Keras", "A loop of your own in Keras", "JAX", "PyTorch", "Unknown labels"]


def test_fit_of_keras(examples: dict[str, str], run: Run) -> None:
    assert run(examples["Keras"]).count("Epoch ") == 5


def test_metrics(examples: dict[str, str], run: Run) -> None:
    precision, hamming = map(float, run(examples["Unknown labels"]).split())
    assert 0 < precision < 1
    assert 0 < hamming < 1


def test_a_loop_in_keras_goes_on_where_it_was_killed(examples: dict[str, str], run: Run, tmp_path: Path) -> None:
    program = examples["A loop of your own in Keras"]
    # Four steps in an epoch.
    for old, new in (("save_every = 500, 100", "save_every = 20, 1"), ("64, skip", "64, batch_size=4, skip")):
        assert old in program
        program = program.replace(old, new)
    assert run(program, 0, first=_KILLED).count("loss") == 20
    expected = _weights(tmp_path / "runs")
    (tmp_path / "runs").rename(tmp_path / "uninterrupted")
    # Within the first epoch, then at the end of a later one.
    for saves in (2, 14):
        run(program, saves, first=_KILLED, status=9)
    assert run(program, 0, first=_KILLED).count("loss") == 4
    found = _weights(tmp_path / "runs")
    assert found.keys() == expected.keys()
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


def _weights(runs: Path) -> dict[str, np.ndarray]:
    """Returns all that the last checkpoint has."""
    checkpoint = tf.train.latest_checkpoint(str(runs / "own_loop"))
    return {
        name: tf.train.load_variable(checkpoint, name)
        for name, _ in tf.train.list_variables(checkpoint)
        if name != "_CHECKPOINTABLE_OBJECT_GRAPH"
    }


@pytest.mark.interop
def test_jax(examples: dict[str, str], run: Run, packages: Callable[[str], Path], partly_known: Path) -> None:
    printed = run(examples["JAX"], packages("jax"))
    losses = _losses(printed)
    assert all(map(math.isfinite, losses))
    assert losses[-1] < losses[0]
    num_examples = metadata.load(str(partly_known)).split("validation").num_examples
    assert f"{num_examples} images of the validation split" in printed


@pytest.mark.interop
def test_pytorch(examples: dict[str, str], run: Run, packages: Callable[[str], Path]) -> None:
    assert all(map(math.isfinite, _losses(run(examples["PyTorch"], packages("pytorch")))))


@pytest.mark.interop
@pytest.mark.parametrize(
    ("environment", "imports", "shared", "address"),
    [
        ("jax", "import jax.numpy as jnp", "jnp.from_dlpack(tensor)", "shared.unsafe_buffer_pointer()"),
        ("pytorch", "import torch", "torch.from_dlpack(tensor)", "shared.data_ptr()"),
    ],
)
def test_nothing_is_copied(
    environment: str, imports: str, shared: str, address: str, run: Run, packages: Callable[[str], Path]
) -> None:
    program = _NO_COPY.format(imports=imports, shared=shared, address=address)
    assert run(program, packages(environment)) == "shared\n"
