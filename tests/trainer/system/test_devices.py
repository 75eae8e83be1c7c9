"""The line that names the device, and why a GPU is not used, for machines that are made up here."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import tensorflow as tf

from trainer.system import devices

INSTALL = "pip install 'tensorflow[and-cuda]'"


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Returns the only folder in which programs are looked for."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def _nvidia_smi(folder: Path, text: str, status: int = 0) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nwhile read -r line; do echo \"$line\"; done <<'END'\n{text}\nEND\nexit {status}\n")
    program.chmod(0o755)


def test_a_machine_without_a_gpu_says_its_cores(no_programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "find_gpus", lambda: [])
    monkeypatch.setattr(devices.machine, "usable_cores", lambda: 2)
    assert devices.describe() == "Training on CPU (2 cores)."
    monkeypatch.setattr(devices.machine, "usable_cores", lambda: 1)
    assert devices.describe() == "Training on CPU (1 core)."


def test_the_type_that_a_model_computes_in_is_said(no_programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "find_gpus", lambda: [])
    monkeypatch.setattr(devices.machine, "usable_cores", lambda: 2)
    assert devices.describe("mixed_bfloat16") == "Training on CPU (2 cores), in bfloat16."
    assert devices.describe("mixed_float16") == "Training on CPU (2 cores), in float16."
    described = devices.describe_gpu(["NVIDIA A10G"], "NVIDIA A10G, 23028\n", ", in bfloat16")
    assert described == "GPU: NVIDIA A10G, 24 GB, in bfloat16."


@pytest.mark.parametrize(
    ("flags", "onednn", "fast"),
    [
        ("fpu avx512f amx_tile amx_bf16 amx_int8", None, True),
        ("fpu avx512f amx_bf16", "1", True),
        ("fpu avx512f amx_bf16", "0", False),
        ("fpu avx2 avx512f avx512_bf16", None, False),
        ("", None, False),
    ],
)
def test_bfloat16_is_fast_on_processors_with_tiles(
    flags: str, onednn: str | None, fast: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if onednn:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", onednn)
    cpuinfo = tmp_path / "cpuinfo"
    assert not devices.computes_bfloat16_fast(cpuinfo)
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    assert devices.computes_bfloat16_fast(cpuinfo) == fast


@pytest.mark.parametrize(
    ("details", "fast"),
    [
        ({"compute_capability": (8, 6)}, True),
        ({"compute_capability": (9, 0)}, True),
        ({"compute_capability": (7, 5)}, False),
        ({}, False),
    ],
)
def test_bfloat16_is_fast_on_newer_gpus(
    details: dict[str, tuple[int, int]], fast: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    assert devices.computes_bfloat16_fast(tmp_path / "missing") == fast


@pytest.mark.parametrize("fast", [True, False])
def test_auto_is_bfloat16_where_it_is_fast(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "computes_bfloat16_fast", lambda: fast)
    assert devices.precision("auto", "small_resnet") == ("mixed_bfloat16" if fast else "float32")
    assert devices.precision("auto", "my_models:small") == "float32"
    assert devices.precision("auto", "small_resnet", image_size=31) == "float32"
    for asked in ("float32", "mixed_bfloat16", "mixed_float16"):
        assert devices.precision(asked, "my_models:small") == devices.precision(asked) == asked


def test_a_gpu_that_is_not_used_is_named_in_a_second_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "find_gpus", lambda: ["NVIDIA A10G"])
    monkeypatch.setattr(devices, "gpu_log", lambda: "Cannot dlopen some GPU libraries.")
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    first, second = devices.describe().splitlines()
    assert first.startswith("Training on CPU (")
    assert second == (
        f"The GPU of this machine (NVIDIA A10G) is not used: CUDA libraries cannot be loaded. Install them: {INSTALL}"
    )


@pytest.mark.parametrize(
    ("names", "memory", "expected"),
    [
        (["NVIDIA A10G"], "NVIDIA A10G, 23028\n", "GPU: NVIDIA A10G, 24 GB."),
        (["NVIDIA A10G"], "", "GPU: NVIDIA A10G."),
        (["NVIDIA A10G"], "NVIDIA A10G, [N/A]\n", "GPU: NVIDIA A10G."),
        (["NVIDIA T4"], "NVIDIA A10G, 23028\nNVIDIA T4, 15360\n", "GPU: NVIDIA T4, 16 GB."),
        (
            ["NVIDIA T4"] * 4,
            "NVIDIA T4, 15360\n" * 4,
            "GPU: NVIDIA T4, 16 GB. Only the first of 4 GPUs is used: --strategy=mirrored uses all.",
        ),
    ],
)
def test_a_gpu_is_named_with_its_memory(names: Sequence[str], memory: str, expected: str) -> None:
    assert devices.describe_gpu(names, memory) == expected


def test_gpus_are_found_where_the_driver_describes_them(no_programs: Path, tmp_path: Path) -> None:
    for i, text in enumerate(["Model: \t\t NVIDIA A10G\nIRQ: 10\n", "Model:  NVIDIA T4\n", "nothing\n"]):
        folder = tmp_path / f"gpus/0000:0{i}:1e.0"
        folder.mkdir(parents=True)
        (folder / "information").write_text(text)
    assert devices.find_gpus(tmp_path / "gpus", tmp_path) == ["NVIDIA A10G", "NVIDIA T4", "NVIDIA GPU"]


def test_gpus_are_found_by_their_devices(no_programs: Path, tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert devices.find_gpus(tmp_path / "missing", tmp_path) == ["NVIDIA GPU", "NVIDIA GPU"]


def test_gpus_are_found_by_nvidia_smi(no_programs: Path, tmp_path: Path) -> None:
    nothing = tmp_path / "missing"
    assert devices.find_gpus(nothing, nothing) == []
    _nvidia_smi(no_programs, "GPU 0: NVIDIA GeForce RTX 3090 (UUID: GPU-1b2c)\nGPU 1: NVIDIA T4 (UUID: GPU-3d)")
    assert devices.find_gpus(nothing, nothing) == ["NVIDIA GeForce RTX 3090", "NVIDIA T4"]
    # Images for GPUs have the program on machines without one, too.
    _nvidia_smi(no_programs, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", status=9)
    assert devices.find_gpus(nothing, nothing) == []


@pytest.mark.parametrize(
    ("visible", "built_with_cuda", "words", "expected"),
    [
        pytest.param(
            "",
            True,
            "",
            "CUDA_VISIBLE_DEVICES is '', which hides all GPUs. To use them: unset ",
            id="hidden by nothing",
        ),
        pytest.param(
            "-1", True, "", "CUDA_VISIBLE_DEVICES is '-1', which hides all GPUs. To use them: unset ", id="hidden by -1"
        ),
        pytest.param(
            None,
            False,
            "",
            f"this TensorFlow is built without CUDA. Install one with CUDA: {INSTALL}",
            id="no CUDA",
        ),
        pytest.param(
            None,
            True,
            "I0000 cudart_stub.cc:28] Could not find cuda drivers on your machine, GPU will not be used.\n",
            f"CUDA libraries cannot be loaded. Install them: {INSTALL}",
            id="no CUDA libraries",
        ),
        pytest.param(
            None,
            True,
            "W0000 gpu_device.cc:2343] Cannot dlopen some GPU libraries. Please make sure the missing libraries ...\n"
            "Skipping registering GPU devices...",
            f"CUDA libraries cannot be loaded. Install them: {INSTALL}",
            id="some CUDA libraries",
        ),
        pytest.param(
            None,
            True,
            "Could not load dynamic library 'libcudnn.so.9'; dlerror: libcudnn.so.9: cannot open shared object file",
            f"CUDA libraries cannot be loaded (libcudnn.so.9). Install them: {INSTALL}",
            id="a library by name",
        ),
        pytest.param(
            "0",
            True,
            "E0000 cuda_platform.cc:51] failed call to cuInit: INTERNAL: CUDA error: Failed call to cuInit: "
            "CUDA_ERROR_UNKNOWN: unknown error",
            "the driver does not start (CUDA_ERROR_UNKNOWN). `nvidia-smi` must work; ",
            id="a driver that does not start",
        ),
        pytest.param(
            None,
            True,
            "I0000 cudart_stub.cc:31] Could not find cuda drivers on your machine, GPU will not be used.\n"
            "E0000 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error: Failed call to cuInit: "
            "UNKNOWN ERROR (303)\n",
            "the driver does not start (UNKNOWN ERROR (303)). `nvidia-smi` must work; ",
            id="neither a driver nor libraries",
        ),
        pytest.param(
            None,
            True,
            "CUDA driver version is insufficient for CUDA runtime version",
            "the driver does not start (CUDA driver version is insufficient). ",
            id="an old driver",
        ),
        pytest.param("7", True, "", "CUDA_VISIBLE_DEVICES is '7', and there may be no such GPU.", id="no such GPU"),
        pytest.param(
            None, True, "?", "TensorFlow does not say why. To see its log: TF_CPP_MIN_LOG_LEVEL=0 ", id="unknown"
        ),
    ],
)
def test_why_a_gpu_is_not_used(visible: str | None, built_with_cuda: bool, words: str, expected: str) -> None:
    said = devices.explain_unused(["NVIDIA A10G"], visible, built_with_cuda, words)
    assert said.startswith(f"The GPU of this machine (NVIDIA A10G) is not used: {expected}")
    assert "\n" not in said
    assert devices.explain_unused(["NVIDIA T4"] * 2, visible, built_with_cuda, words).startswith(
        "The 2 GPUs of this machine (NVIDIA T4) are not used: "
    )


@pytest.mark.slow
@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="TensorFlow finds a GPU here")
def test_tensorflow_tells_its_words_when_it_is_asked() -> None:
    assert os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "0"
    assert "uda" in devices.gpu_log()
