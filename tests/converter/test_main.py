"""The command line, as it is typed: what it prints, and with which status it ends.

Each run takes seconds to import TensorFlow, so that most of what can go wrong is tested without the command line.
"""

import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(scenes: Path, tmp_path: Path) -> Run:
    """Returns the function that runs the converter with good flags, of which any can be replaced."""

    def converter(
        *args: str, limit: Callable[[], None] | None = None, prefix: Sequence[str] = (), **given: object
    ) -> subprocess.CompletedProcess[str]:
        flags = {"csv": scenes / "labels.csv", "images": scenes / "images", "output": tmp_path / "out", **given}
        command = [sys.executable, "-m", "converter", *(f"--{key}={value}" for key, value in flags.items()), *args]
        return subprocess.run(
            [*prefix, *command], capture_output=True, text=True, check=False, timeout=120, preexec_fn=limit
        )

    return converter


def _error(process: subprocess.CompletedProcess[str]) -> str:
    """Returns the one line that a run says, which failed for a reason that its user can mend."""
    assert process.returncode == 1
    assert process.stdout == ""
    (line,) = process.stderr.splitlines()
    return line


def _misunderstood(process: subprocess.CompletedProcess[str]) -> str:
    """Returns what a run says of its command line, above the usage and an example."""
    assert (process.returncode, process.stdout) == (1, "")
    line, usage, example, _ = process.stderr.splitlines()
    assert usage.startswith("usage: python -m converter --csv=FILE ")
    assert example.startswith("example: python -m converter --csv=labels.csv ")
    return line


@pytest.mark.slow
def test_prints_a_summary_and_nothing_else(run: Run, tmp_path: Path) -> None:
    process = run(name="scenes", num_shards="train=3,validation=1")
    assert (process.returncode, process.stderr) == (0, "")
    lines = process.stdout.splitlines()
    assert lines[0].split() == ["train", "validation"]
    assert ["shards", "3", "1"] in [line.split() for line in lines]
    assert lines[-2:] == ["Rejected: 0 rows", f"Dataset: {tmp_path}/out/scenes/1.0.0"]


@pytest.mark.slow
def test_help_lists_the_flags() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "converter", "--help"], capture_output=True, text=True, check=False, timeout=120
    )
    assert re.search("^  --max_rejects=... +Publish nothing if more rows are rejected", process.stdout, re.MULTILINE)


def test_a_mistyped_flag_is_told_the_closest(run: Run, tmp_path: Path) -> None:
    # The flag that is then missing is not what is told.
    process = run("--imgaes=images", images="")
    assert _misunderstood(process) == "error: Unknown flag --imgaes. Did you mean --images?"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_value_that_is_no_number_is_told(run: Run) -> None:
    assert "flag --shard_mb=many: must be a whole number" in _misunderstood(run(shard_mb="many"))


@pytest.mark.slow
def test_a_missing_csv_is_told(run: Run, tmp_path: Path) -> None:
    assert _error(run(csv=tmp_path / "missing.csv")).startswith(f"error: Cannot read {tmp_path}/missing.csv: ")


def test_a_missing_folder_of_images_is_told(run: Run, tmp_path: Path) -> None:
    assert _error(run(images=tmp_path / "x")) == f"error: --images: there is no folder {tmp_path}/x"


def test_an_output_that_cannot_be_written_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    message = _error(run(output=tmp_path / "file"))
    assert message.startswith("error: ")
    assert str(tmp_path / "file") in message


@pytest.mark.slow
def test_too_many_rejects_are_told_line_by_line(run: Run, scenes: Path, tmp_path: Path) -> None:
    csv = tmp_path / "labels.csv"
    csv.write_text((scenes / "labels.csv").read_text(encoding="utf-8") + "lost.jpg,1,0,0,0,0\n", encoding="utf-8")
    process = run(csv=csv, max_rejects="0")
    incomplete = f"{tmp_path}/out/dataset/1.0.0.incomplete"
    assert (process.returncode, process.stdout) == (1, "")
    finished = len(list(Path(incomplete).glob("made_from/attempts/*/*.json")))
    assert finished > 1
    assert process.stderr.splitlines() == [
        "error: 1 of 25 rows were rejected; at most 0 may be (--max_rejects).",
        "Nothing is published. What is wrong, with the first row of each kind:",
        f"        1 missing_file: {csv} line 26, 'lost.jpg': no such file in the folder of images",
        f"All of them: {incomplete}/rejects.csv",
        f"{finished} finished shards are kept in {incomplete}: the same command continues with the others.",
        f"To clear it: rm -r {incomplete}",
    ]


def _left(process: subprocess.CompletedProcess[str], incomplete: str) -> str:
    """Returns the line that says what went wrong, of a run that then says what it has left."""
    assert (process.returncode, process.stdout) == (1, "")
    line, kept, clear = process.stderr.splitlines()
    assert kept in (
        f"No shard was finished. The same command starts again, in {incomplete}.",
        f"1 finished shard is kept in {incomplete}: the same command continues with the others.",
    )
    assert clear == f"To clear it: rm -r {incomplete}"
    return line


def _limited() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))


@pytest.mark.slow
def test_an_output_that_takes_no_more_ends_with_one_sentence(run: Run, tmp_path: Path) -> None:
    limited = run(num_shards=1, limit=_limited)
    incomplete = f"{tmp_path}/out/dataset/1.0.0.incomplete"
    assert re.fullmatch(rf"error: {incomplete}/.*\.tfrecord: File too large", _left(limited, incomplete))
    assert not (tmp_path / "out/dataset/1.0.0").exists()
    # With room, the same command finishes the work.
    assert run(num_shards=1).returncode == 0


@pytest.mark.slow
def test_a_full_disk_ends_with_one_sentence(run: Run, tmp_path: Path) -> None:
    mounts = ["unshare", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*mounts, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here: unshare --map-root-user --mount is not allowed")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size=40k none {disk} && exec "$@"'
    full = run(output=disk, num_shards=1, prefix=[*mounts, "sh", "-c", mount, "sh"])
    incomplete = f"{disk}/dataset/1.0.0.incomplete"
    assert re.fullmatch(rf"error: {incomplete}/.*: No space left on device", _left(full, incomplete))


@pytest.mark.slow
@pytest.mark.parametrize("output", ["/dev/null/out", "/proc/out"])
def test_an_output_that_cannot_be_made_ends_with_one_sentence(run: Run, output: str) -> None:
    assert re.fullmatch(
        r"error: /(dev/null|proc)/out.*: (Not a directory|No such file or directory)", _error(run(output=output))
    )
