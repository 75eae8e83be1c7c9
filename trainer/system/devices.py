"""Names the device on which a run trains, what it computes in, and the reason if TensorFlow does not use a GPU.

TensorFlow writes the reason only to its log, and trains on the CPU, many times slower.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from multihot import machine
from trainer.config import TrainConfig

_INSTALL = "pip install 'tensorflow[and-cuda]'"
_TIMEOUT_SECONDS = 60
_LIST_GPUS = "import tensorflow as tf; tf.config.list_physical_devices()"
_CPUINFO = Path("/proc/cpuinfo")
# GPUs of NVIDIA compute in bfloat16 from this compute capability on.
_LEAST_CAPABILITY = (8, 0)
_NAMES = {"float32": "", "mixed_bfloat16": ", in bfloat16", "mixed_float16": ", in float16"}


# TensorFlow's gradient of a kernel of 3 x 3 with strides is sometimes NaN in bfloat16 if its maps are of one pixel: for
# 25 of 60 batches of 8 pixels in small_resnet. Networks halve images up to five times, so that 32 pixels leave two.
_LEAST_SIZE = 32


def precision(asked: str, model: str = "", image_size: int = _LEAST_SIZE) -> str:
    """Returns the type in which a model computes, as Keras names it.

    Args:
        asked: value of --precision; `auto` is bfloat16 where the device computes in it fast, and float32 elsewhere.
        model: value of --model. One of the user computes in float32 unless another type is asked for by its name: its
            layers may expect it.
        image_size: height and width of the smallest images that are trained on, pixels.
    """
    if asked != "auto":
        return asked
    is_fit = ":" not in model and image_size >= _LEAST_SIZE
    return "mixed_bfloat16" if is_fit and computes_bfloat16_fast() else "float32"


def precision_of(config: TrainConfig) -> str:
    """Returns the type in which the model of a run computes, as Keras names it."""
    return precision(config.precision, config.model, config.least_size)


def computes_bfloat16_fast(cpuinfo: Path = _CPUINFO) -> bool:
    """Returns whether the device of a run has instructions for products of matrices in bfloat16.

    Args:
        cpuinfo: file in which Linux lists the instructions of the processor.
    """
    if gpus := tf.config.list_physical_devices("GPU"):
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability")
        return capability is not None and tuple(capability) >= _LEAST_CAPABILITY
    return processor_computes_bfloat16_fast(cpuinfo)


def processor_computes_bfloat16_fast(cpuinfo: Path = _CPUINFO) -> bool:
    """Returns whether there is no GPU, and the processor has instructions for products of matrices in bfloat16.

    Args:
        cpuinfo: file in which Linux lists the instructions of the processor.
    """
    if tf.config.list_physical_devices("GPU"):
        return False
    # oneDNN is the library in TensorFlow that uses them.
    return os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0" and "amx_bf16" in _read(cpuinfo).split()


def describe(policy: str = "float32", *, uses_all: bool = False) -> str:
    """Returns the line that names the device of a run, and a second line if a GPU is not used.

    Args:
        policy: what its model computes in, as `precision` returns it.
        uses_all: whether a strategy uses all GPUs.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        names = [tf.config.experimental.get_device_details(gpu).get("device_name") or "GPU" for gpu in gpus]
        memory = nvidia_smi("--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
        return f"Training on {describe_gpu(names, memory, _NAMES[policy], uses_all=uses_all)}"
    cores = machine.usable_cores()
    lines = [f"Training on CPU ({cores} core{'s' if cores > 1 else ''}){_NAMES[policy]}."]
    found = find_gpus()
    if found:
        environment = os.environ.get("CUDA_VISIBLE_DEVICES")
        lines.append(explain_unused(found, environment, tf.test.is_built_with_cuda(), gpu_log()))
    return "\n".join(lines)


def describe_gpu(names: Sequence[str], memory: str, ending: str = "", *, uses_all: bool = False) -> str:
    """Returns the name of the GPU that is used, with its memory where that is known.

    Args:
        names: of the GPUs that TensorFlow can use; without a strategy it uses the first.
        memory: the output of nvidia-smi: a line `name, MiB` for each GPU.
        ending: of the sentence.
        uses_all: whether a strategy uses all of them.
    """
    sizes: dict[str, float] = {}
    for one in memory.splitlines():
        name, _, mebibytes = one.rpartition(",")
        if mebibytes.strip().isdecimal():
            sizes[name.strip()] = int(mebibytes) * 2**20 / 1e9
    size = f", {sizes[names[0]]:.0f} GB" if names[0] in sizes else ""
    others = ""
    if len(names) > 1:
        others = (
            f" All {len(names)} GPUs are used."
            if uses_all
            else f" Only the first of {len(names)} GPUs is used: --strategy=mirrored uses all."
        )
    return f"GPU: {names[0]}{size}{ending}.{others}"


def find_gpus(proc: Path = Path("/proc/driver/nvidia/gpus"), dev: Path = Path("/dev")) -> list[str]:
    """Returns the names of the GPUs of NVIDIA that this machine has, without asking TensorFlow.

    Args:
        proc: folder in which the driver describes each GPU, in a folder of its own.
        dev: folder of the device files, which containers have without the descriptions.
    """
    models = [re.search(r"^Model:\s*(.+?)\s*$", _read(path), re.M) for path in sorted(proc.glob("*/information"))]
    names = [model[1] if model else "NVIDIA GPU" for model in models]
    names = names or ["NVIDIA GPU" for path in dev.glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)]
    # Windows Subsystem for Linux has neither of these folders.
    return names or re.findall(r"^GPU \d+: (.+?)(?: \(UUID.*)?$", nvidia_smi("-L"), re.M)


def explain_unused(found: Sequence[str], visible: str | None, built_with_cuda: bool, log: str) -> str:
    """Returns a sentence that says why TensorFlow does not use a GPU of this machine, and what to do.

    Args:
        found: names of the GPUs.
        visible: the variable CUDA_VISIBLE_DEVICES; None if it is not set.
        built_with_cuda: whether this TensorFlow can use GPUs of NVIDIA at all.
        log: the lines that TensorFlow logged while it looked for GPUs.
    """
    reason = _reason(visible, built_with_cuda, log)
    gpus = f"The GPU of this machine ({found[0]}) is"
    if len(found) > 1:
        gpus = f"The {len(found)} GPUs of this machine ({found[0]}) are"
    return f"{gpus} not used: {reason}"


def _reason(visible: str | None, built_with_cuda: bool, log: str) -> str:
    if visible is not None and not re.match(r"\s*(\d|GPU-|MIG-)", visible):
        return f"CUDA_VISIBLE_DEVICES is {visible!r}, which hides all GPUs. To use them: unset CUDA_VISIBLE_DEVICES"
    if not built_with_cuda:
        return f"this TensorFlow is built without CUDA. Install one with CUDA: {_INSTALL}"
    # Checked before the libraries: without a driver, TensorFlow reports missing libraries as well.
    driver = re.search(r"failed call to cuInit:[^\n]*?(CUDA_ERROR_\w+|UNKNOWN ERROR \(\d+\)|$)", log, re.M)
    driver = driver or re.search(r"(CUDA driver version is insufficient)", log)
    if driver:
        code = f" ({driver[1]})" if driver[1] else ""
        return (
            f"the driver does not start{code}. `nvidia-smi` must work; a container needs --gpus=all; "
            "after a new driver is installed, the machine must be restarted."
        )
    missing = re.findall(r"Could not load dynamic library '([^']+)'", log)
    if missing or re.search(r"Cannot dlopen some GPU libraries|Could not find cuda drivers", log):
        named = f" ({', '.join(missing)})" if missing else ""
        return f"CUDA libraries cannot be loaded{named}. Install them: {_INSTALL}"
    if visible is not None:
        return f"CUDA_VISIBLE_DEVICES is {visible!r}, and there may be no such GPU. The first is CUDA_VISIBLE_DEVICES=0"
    return f'TensorFlow does not say why. To see its log: TF_CPP_MIN_LOG_LEVEL=0 python -c "{_LIST_GPUS}"'


def gpu_log() -> str:
    """Returns the log of TensorFlow while it looks for GPUs, from another process: this one suppresses its log."""
    return _run([sys.executable, "-c", _LIST_GPUS], {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"})


def nvidia_smi(*arguments: str) -> str:
    """Returns the output of nvidia-smi; "" if it is not installed, or without a driver."""
    program = shutil.which("nvidia-smi")
    return _run([program, *arguments], os.environ) if program else ""


def _run(command: Sequence[str], environment: Mapping[str, str]) -> str:
    try:
        process = subprocess.run(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=_TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return process.stdout


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
