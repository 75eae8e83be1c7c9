"""The environment of a run: hardware, versions and revisions of code, without the name of the machine or of a user."""

import getpass
import json
import os
import socket
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import multihot
from multihot import machine
from trainer.system import environment


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns a folder of a project in git, with one commit."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "train.py").write_text("print(1)\n")
    for arguments in (["init", "-q"], ["add", "train.py"], ["commit", "-q", "-m", "one"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=folder, check=True)
    return folder


def test_the_machine_is_described_without_its_name() -> None:
    found = environment.describe()
    assert set(found) == {"device", "system", "processor", "cores", "memory_gb", "gpus"}
    assert found["cores"] == machine.usable_cores()
    if not tf.config.list_physical_devices("GPU"):
        assert found["gpus"] == []
        assert found["device"].startswith(f"CPU ({found['cores']} core")
    text = json.dumps(found).casefold().replace(found["system"].casefold(), "")
    assert socket.gethostname().casefold() not in text.replace("device", "").split()
    assert f'"{getpass.getuser()}"' not in text


def test_the_versions_are_those_of_what_is_imported() -> None:
    found = environment.versions()
    assert found["multihot"] == multihot.__version__
    assert (found["tensorflow"], found["keras"], found["numpy"]) == (tf.__version__, keras.__version__, np.__version__)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("processor : 0\nmodel name\t: AMD EPYC 7B13 \nmodel name : x\n", "AMD EPYC 7B13", id="x86"),
        pytest.param("processor : 0\nBogoMIPS : 50\n", None, id="a processor without a name"),
        pytest.param(None, None, id="no Linux"),
    ],
)
def test_the_processor_has_a_name(text: str | None, expected: str | None, tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    if text is not None:
        path.write_text(text)
    assert environment.processor(path) if expected is None else environment.processor(path) == expected


def test_the_revision_of_a_folder_says_whether_it_was_changed(checkout: Path) -> None:
    found = environment.revision(checkout)
    assert found is not None
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True, check=True)
    assert found == {"commit": commit.stdout.strip(), "modified": False}
    (checkout / "notes.txt").write_text("not a part of it")
    assert environment.revision(checkout) == found
    (checkout / "train.py").write_text("print(2)\n")
    assert environment.revision(checkout) == {**found, "modified": True}


def test_a_folder_without_git_has_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkout: Path) -> None:
    assert environment.revision(tmp_path) is None
    (tmp_path / "empty").mkdir()
    subprocess.run(["git", "init", "-q"], cwd=tmp_path / "empty", check=True)
    assert environment.revision(tmp_path / "empty") is None
    monkeypatch.setenv("PATH", str(tmp_path))  # git is not installed.
    assert environment.revision(checkout) is None


def test_a_program_that_git_is_set_up_to_start_is_not_started(checkout: Path, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    subprocess.run(["git", "config", "core.fsmonitor", str(program)], cwd=checkout, check=True)
    assert environment.revision(checkout) is not None
    assert not (tmp_path / "started").exists()


def test_a_package_that_is_installed_in_another_project_has_no_revision(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = checkout / ".venv" / "multihot"
    installed.mkdir(parents=True)
    (installed / "__init__.py").touch()
    monkeypatch.setattr(multihot, "__file__", str(installed / "__init__.py"))
    monkeypatch.chdir(checkout)
    assert environment.revisions() == {"current_folder": environment.revision(checkout)}
    subprocess.run(["git", "add", "-f", str(installed)], cwd=checkout, check=True)
    assert environment.revisions()["multihot"] == environment.revision(checkout)
