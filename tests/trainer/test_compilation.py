"""With XLA, which compiles anew for each shape, a run compiles its training step once."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

# XLA is for GPUs, where Keras decides on it; here it compiles for the CPU.
_PROGRAM = """
import sys
from trainer import train
from trainer.config import TrainConfig

compiled = train._compile

def with_xla(network, *args, **kwargs):
    compiled(network, *args, **kwargs)
    network.jit_compile = True

train._compile = with_xla
train.train_and_evaluate(
    TrainConfig(data=(sys.argv[1],), output=sys.argv[2], image_size=8, batch_size=20, epochs=3, cache=sys.argv[3])
)
"""


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["decoded", "none"])
def test_a_batch_that_is_not_full_compiles_nothing_anew(cache: str, data: Path, tmp_path: Path) -> None:
    """Of 48 images to train and 21 to validate: neither is a multiple of 20. The throughput is measured on the way."""
    subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(data), str(tmp_path / "run"), cache],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": ".", "XLA_FLAGS": f"--xla_dump_to={tmp_path}/xla --xla_dump_hlo_as_text"},
        check=True,
        capture_output=True,
        timeout=600,
    )
    modules = [path.name for path in (tmp_path / "xla").glob("*.before_optimizations.txt")]
    assert [re.sub(r"^module_\d+\.a_inference_(\w+?)_\d+_.*", r"\1", name) for name in modules] == ["one_step_on_data"]
