"""The scripts that a person runs first."""

import csv
import json
import os
import re
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]


def _make_example(output: Path, *flags: str) -> None:
    script = _ROOT / "scripts" / "make_example.py"
    subprocess.run([sys.executable, script, f"--output={output}", *flags], check=True, capture_output=True)


def test_the_example_data_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        _make_example(tmp_path / name, "--num_images=12", f"--seed={seed}")
    a, b, c = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in "abc"
    )
    assert a == b != c
    with (tmp_path / "a" / "labels.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["filename", "desert", "mountains", "sea", "sunset", "trees"]
    assert {Path("images") / name for name, *_ in rows[1:]} == {path for path in a if path.parts[0] == "images"}
    assert all(1 <= labels.count("1") <= 3 for _, *labels in rows[1:])


@pytest.mark.slow
@pytest.mark.parametrize(
    "is_empty",
    [pytest.param(False, id="packages are there"), pytest.param(True, id="empty", marks=pytest.mark.extended)],
)
def test_the_quickstart_runs_in_a_new_environment_and_learns_what_it_drew(is_empty: bool, tmp_path: Path) -> None:
    if not is_empty:
        # Nothing that is installed here has to be installed again, which takes a minute.
        venv.create(tmp_path / "venv", with_pip=True)
        for folder in map(Path, site.getsitepackages()):
            inner = tmp_path / "venv" / folder.relative_to(sys.prefix)
            (inner / "outer.pth").write_text(f"{folder}\n")
    env = {**os.environ, "MULTIHOT_VENV": str(tmp_path / "venv"), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [_ROOT / "scripts" / "quickstart", tmp_path / "example"],
        env=env, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    evaluation = json.loads((tmp_path / "example" / "run" / "evaluation.json").read_text())
    prior = float(re.findall(r"no more +([\d.]+)", done.stdout)[0])
    assert evaluation["num_examples"] > 100
    assert evaluation["mean_average_precision"] > prior + 0.4
    assert evaluation["label_ranking_average_precision"] > 0.9
    commands = done.stdout.strip().splitlines()[-3:]
    assert [re.search(r"-m (\w+)|(tensorboard)", command) is not None for command in commands] == [True] * 3
    assert (tmp_path / "example" / "run" / "samples.png").stat().st_size > 100_000


@pytest.mark.extended
@pytest.mark.slow
def test_the_closing_line_of_pytest_is_the_last_line_of_a_test_run() -> None:
    # With -n the process that imports conftest.py runs no test: what was printed in it would be shown at its end.
    command = [sys.executable, "-m", "pytest", "-n", "1", "tests/schemas/test_layout.py"]
    env = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        command, cwd=_ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    assert re.fullmatch(r"=+ \d+ passed in .* =+", done.stdout.splitlines()[-1])


def test_no_page_installs_the_package_from_an_index() -> None:
    pages = [_ROOT / "README.md", _ROOT / "CONTRIBUTING.md", *(_ROOT / "docs").glob("*.md")]
    assert not [page.name for page in pages if re.search(r"pip install '?multihot", page.read_text())]


def _on_dataflow(tmp_path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Runs the script with an environment whose Python prints its arguments."""
    made = tmp_path / "venv"
    (made / "bin").mkdir(parents=True)
    (made / "bin" / "python").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (made / "bin" / "python").chmod(0o755)
    files = "".join((_ROOT / name).read_text() for name in ("setup.cfg", "pyproject.toml"))
    (made / ".installed-gcp").write_text(f"{_ROOT}\n{files}")
    return subprocess.run(
        [_ROOT / "scripts" / "run_on_dataflow", *flags],
        env={**os.environ, "MULTIHOT_VENV": str(made)}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("bucket", "folder"), [("b", "gs://b/dataflow"), ("gs://b", "gs://b/dataflow"), ("gs://b/x/", "gs://b/x")]
)
def test_a_job_for_dataflow_gets_the_flags_of_its_script_and_all_others(
    bucket: str, folder: str, tmp_path: Path
) -> None:
    given = ["--csv=gs://b/l a.csv", "--project=p", f"--bucket={bucket}", "--region=r", "--image=i", "--name=n"]
    done = _on_dataflow(tmp_path, *given)
    assert done.stdout.splitlines() == [
        "-m",
        "converter",
        "--runner=DataflowRunner",
        f"--temp_location={folder}",
        "--project=p",
        "--region=r",
        "--sdk_container_image=i",
        "--csv=gs://b/l a.csv",
        "--name=n",
    ], done.stderr


def test_the_script_for_dataflow_without_a_bucket_prints_its_usage(tmp_path: Path) -> None:
    done = _on_dataflow(tmp_path, "--project=p")
    assert done.returncode == 2
    assert done.stderr.startswith("usage: scripts/run_on_dataflow --project=PROJECT --region=REGION --bucket=BUCKET")
