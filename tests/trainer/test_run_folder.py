"""The folder of a run belongs to one run at a time, and each file in it is complete."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from multihot.errors import UserError
from trainer import run_folder

CHECKOUT = Path(__file__).parents[2]
HOLDS_A_RUN = "{} holds a run already. Choose another --output, or replace it: --overwrite"
MAY_BE_AT_WORK = (
    "{} holds an unfinished run that may be at work: its files have just changed, and this file system has no locks. "
    "Try again after 10 minutes, or choose another --output."
)
IN_USE = "Another run is at work in {}. Wait until it has ended, or choose another --output."

# Runs without a model: each claims its folder, begins after 0.2 s, and writes files with its name for 0.5 s. A process
# that has imported everything forks one for each, and prints how they ended. A file system may have no locks.
_RUNS = """
import errno, fcntl, json, os, signal, sys, time
from pathlib import Path
from multihot.errors import UserError
from trainer import run_folder

def flock(*_):
    raise OSError(errno.ENOLCK, "No locks available")

def run(path, name, overwrite, locks):
    if not locks:
        fcntl.flock = flock
    try:
        with run_folder.claimed(path, overwrite=overwrite) as folder:
            time.sleep(0.2)
            folder.begin({"datasets": [{"fingerprint": name}]})
            for i in range(50):
                run_folder.write_text(Path(path, f"{i}.txt"), name * 10_000)
                time.sleep(0.01)
            return "done"
    except UserError as error:
        return str(error)

for line in sys.stdin:
    request = json.loads(line)
    children = []
    for name, delay in zip("ab", request["delays"]):
        ended, end = os.pipe()
        child = os.fork()
        if not child:
            time.sleep(delay)
            os.write(end, run(request["path"], name, request["overwrite"], request["locks"]).encode())
            os._exit(0)
        os.close(end)
        children.append((child, ended))
    if request["kill_after"]:
        time.sleep(request["kill_after"])
        os.kill(children[0][0], signal.SIGKILL)
    print(json.dumps([os.read(ended, 1000).decode() for _, ended in children]), flush=True)
    for child, ended in children:
        os.waitpid(child, 0)
        os.close(ended)
"""

Runs = Callable[..., list[str]]


@pytest.fixture(scope="module")
def start() -> Iterator[Runs]:
    """Returns the function that starts a run `a`, `b`, ... after each delay, in seconds, and returns how they ended."""
    with subprocess.Popen(
        [sys.executable, "-c", _RUNS], cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin
        assert process.stdout
        stdin, stdout = process.stdin, process.stdout

        def runs(
            path: Path, *delays: float, overwrite: bool = False, locks: bool = True, kill_after: float = 0
        ) -> list[str]:
            request = {
                "path": str(path), "delays": delays, "overwrite": overwrite, "locks": locks, "kill_after": kill_after
            }  # fmt: skip
            stdin.write(json.dumps(request) + "\n")
            return list(json.loads(stdout.readline()))

        yield runs
        stdin.close()


def _begin(path: Path, fingerprint: str = "old", overwrite: bool = False) -> None:
    with run_folder.claimed(str(path), overwrite=overwrite) as folder:
        folder.begin({"datasets": [{"fingerprint": fingerprint}]})


def _fingerprint(path: Path) -> str:
    return str(json.loads((path / "config.json").read_text())["datasets"][0]["fingerprint"])


@pytest.mark.parametrize("overwrite", [False, True], ids=["a new folder", "overwriting"])
@pytest.mark.parametrize("locks", [True, False], ids=["locks", "no locks"])
@pytest.mark.parametrize(
    "stagger",
    [
        *(0.0, 0.001, 0.2),
        *(pytest.param(seconds, marks=pytest.mark.slow) for seconds in (0.0, 0.0, 0.001, 0.002, 0.01, 0.1, 0.25)),
    ],
)
def test_of_two_runs_at_once_one_has_the_folder(
    stagger: float, locks: bool, overwrite: bool, start: Runs, tmp_path: Path
) -> None:
    if overwrite and not locks:
        stagger = min(stagger, 0.01)  # Then nobody could tell a run at work from one that has ended.
    path = tmp_path / "runs" / "first"
    if overwrite:
        _begin(path)
        (path / "old.txt").write_text("old")
    ended = start(path, 0, stagger, overwrite=overwrite, locks=locks)
    assert "done" in ended
    winner = ended.index("done")
    assert ended[1 - winner] in (IN_USE.format(path), HOLDS_A_RUN.format(path), MAY_BE_AT_WORK.format(path))
    assert _fingerprint(path) == "ab"[winner]
    assert {file.name for file in path.iterdir()} == {"config.json", *(f"{i}.txt" for i in range(50))}
    assert {(path / f"{i}.txt").read_text() for i in range(50)} == {"ab"[winner] * 10_000}


def test_a_run_that_begins_while_another_one_looks_is_told_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, is_run = tmp_path / "first", run_folder._is_run

    def begun_then(folder: Path) -> bool:
        found = is_run(folder)
        if not (folder / "config.json").exists():
            (folder / "config.json").write_text('{"datasets": [{"fingerprint": "new"}]}')
            (folder / "history.json").write_text("{}")
        return found

    monkeypatch.setattr(run_folder, "_is_run", begun_then)
    with (
        pytest.raises(UserError, match="Another run is at work in"),
        run_folder.claimed(str(path), overwrite=False) as folder,
    ):
        folder.begin({"datasets": [{"fingerprint": "own"}]})
    assert _fingerprint(path) == "new"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stagger", "overwrite"),
    [
        pytest.param(0.0, False, id="a new folder"),
        pytest.param(0.5, False, id="a new folder, one later", marks=pytest.mark.extended),
        pytest.param(0.0, True, id="overwriting", marks=pytest.mark.extended),
        pytest.param(0.5, True, id="overwriting, one later"),
    ],
)
def test_of_two_trainings_at_once_one_has_the_folder(
    stagger: float, overwrite: bool, data: Path, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    if overwrite:
        _begin(path)
    flags = (f"--data={data}", f"--output={path}", f"--overwrite={overwrite}", "--image_size=8", "--epochs=3")
    programs = []
    for seed in (1, 2):
        command = [sys.executable, "-m", "trainer", *flags, f"--seed={seed}"]
        programs.append(
            subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        )
        time.sleep(stagger)
    said = [program.communicate(timeout=120)[1] for program in programs]
    statuses = [program.returncode for program in programs]
    assert sorted(statuses) == [0, 1], said
    winner = statuses.index(0)
    assert said[winner] == ""
    assert said[1 - winner] in (f"error: {message.format(path)}\n" for message in (IN_USE, HOLDS_A_RUN))
    assert json.loads((path / "config.json").read_text())["seed"] == (1, 2)[winner]
    assert len(json.loads((path / "history.json").read_text())["loss"]) == 3
    assert "mean_average_precision" in json.loads((path / "evaluation.json").read_text())


def test_a_run_at_work_is_not_overwritten(start: Runs, tmp_path: Path) -> None:
    with run_folder.claimed(str(tmp_path), overwrite=False) as folder:
        for _ in range(2):  # Claimed, and begun.
            for overwrite in (False, True):
                assert start(tmp_path, 0, overwrite=overwrite) == [IN_USE.format(tmp_path)]
            if not folder.begun:
                folder.begin({"datasets": [{"fingerprint": "mine"}]})
    assert _fingerprint(tmp_path) == "mine"


def test_a_run_that_is_there_is_refused_and_kept(tmp_path: Path) -> None:
    _begin(tmp_path)
    (tmp_path / "evaluation.json").touch()
    with pytest.raises(UserError, match=r"holds a run already\. .*--overwrite$"):
        _begin(tmp_path, "new")
    assert _fingerprint(tmp_path) == "old"


def test_an_unfinished_run_is_gone_on_with(tmp_path: Path) -> None:
    _begin(tmp_path)
    (tmp_path / f"{run_folder.UNFINISHED}1-model.keras").touch()
    (tmp_path / "history.json").touch()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / f"checkpoints/{run_folder.UNFINISHED}1-last.keras").touch()
    with run_folder.claimed(str(tmp_path), overwrite=False) as folder:
        assert folder.unfinished == {"datasets": [{"fingerprint": "old"}]}
        folder.go_on({"datasets": [{"fingerprint": "old"}], "commands": 2})
    assert {path.name for path in tmp_path.rglob("*")} == {"config.json", "history.json", "checkpoints"}
    assert json.loads((tmp_path / "config.json").read_text())["commands"] == 2
    with run_folder.claimed(str(tmp_path), overwrite=True) as folder:
        assert folder.unfinished is None


def test_without_locks_an_unfinished_run_is_gone_on_with_when_its_files_are_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _begin(tmp_path)
    monkeypatch.setattr(run_folder.locking, "works", lambda _: False)
    with pytest.raises(UserError) as raised, run_folder.claimed(str(tmp_path), overwrite=False):
        pass
    assert str(raised.value) == MAY_BE_AT_WORK.format(tmp_path)
    for path in (tmp_path / "config.json", tmp_path):
        os.utime(path, (0, time.time() - 601))
    with run_folder.claimed(str(tmp_path), overwrite=False) as folder:
        assert folder.unfinished


def test_a_run_is_replaced_when_the_other_one_begins(tmp_path: Path) -> None:
    _begin(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.keras").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path.parent)
    inode = tmp_path.stat().st_ino
    with run_folder.claimed(str(tmp_path), overwrite=True) as folder:
        assert (tmp_path / "checkpoints" / "last.keras").exists()
        folder.begin({"datasets": [{"fingerprint": "new"}]})
        assert [entry.name for entry in tmp_path.iterdir()] == ["config.json"]
    assert _fingerprint(tmp_path) == "new"
    assert tmp_path.stat().st_ino == inode  # Otherwise the lock would be on another folder.


@pytest.mark.parametrize("error", [UserError("bad weights"), KeyboardInterrupt(), MemoryError()], ids=repr)
def test_what_fails_before_it_begins_leaves_all_as_it_was(error: BaseException, tmp_path: Path) -> None:
    old, new, empty = tmp_path / "old", tmp_path / "not/yet/there", tmp_path / "empty"
    _begin(old)
    empty.mkdir()
    for path in (old, new, empty):
        with pytest.raises(type(error)), run_folder.claimed(str(path), overwrite=True):
            raise error
    assert {path.name for path in tmp_path.iterdir()} == {"old", "empty"}
    assert _fingerprint(old) == "old"
    assert not list(empty.iterdir())


def test_a_folder_above_that_others_use_stays(tmp_path: Path) -> None:
    with pytest.raises(UserError), run_folder.claimed(str(tmp_path / "runs/first"), overwrite=False):
        (tmp_path / "runs/second").mkdir()
        raise UserError
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["second"]


def test_what_fails_after_it_has_begun_is_kept(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), run_folder.claimed(str(tmp_path / "run"), overwrite=False) as folder:
        folder.begin({"datasets": [{"fingerprint": "mine"}]})
        raise KeyboardInterrupt
    assert _fingerprint(tmp_path / "run") == "mine"


def _file(path: Path) -> None:
    path.write_text("not a folder")


def _of_another_program(path: Path) -> None:
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "of another program"}')


def _damaged(path: Path) -> None:
    path.mkdir()
    (path / "config.json").write_text("[" * 100_000)


def _notes(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("of a person")


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("overwrite", [False, True], ids=["without --overwrite", "with --overwrite"])
@pytest.mark.parametrize("make", [_file, _of_another_program, _damaged, _notes, _dangling])
def test_what_is_no_run_is_refused_and_kept(make: Callable[[Path], None], overwrite: bool, tmp_path: Path) -> None:
    path = tmp_path / "run"
    make(path)
    before = [(one, one.lstat().st_mtime_ns) for one in sorted(tmp_path.rglob("*"))]
    with pytest.raises(UserError, match=r"exists and is not a run of multihot\. Choose another --output"):
        _begin(path, overwrite=overwrite)
    assert [(one, one.lstat().st_mtime_ns) for one in sorted(tmp_path.rglob("*"))] == before


@pytest.mark.parametrize(
    ("output", "code"),
    [
        pytest.param("file/run", errno.ENOTDIR, id="a folder above is a file"),
        pytest.param("new/" + "x" * 300, errno.ENAMETOOLONG, id="a name that is too long"),
        pytest.param("/proc/run", errno.ENOENT, id="where nothing can be made"),
    ],
)
def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(output: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError) as raised:
        _begin(tmp_path / output)
    assert raised.value.errno == code
    assert str(raised.value.filename).startswith(str(tmp_path / output))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="everything can be written to by root")
def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError) as raised:
        _begin(tmp_path / "run")
    assert raised.value.filename == str(tmp_path / "run")


@pytest.mark.parametrize("overwrite", [False, True], ids=["a new folder", "overwriting"])
@pytest.mark.parametrize("moment", [0.195, 0.2, 0.201, 0.202, 0.203, 0.205, 0.21])
def test_a_killed_run_can_be_overwritten(moment: float, overwrite: bool, start: Runs, tmp_path: Path) -> None:
    """The run begins to write after 0.2 s, and is killed around that moment."""
    path = tmp_path / "run"
    if overwrite:
        _begin(path)
        for i in range(20):
            (path / f"{i}.txt").write_text("old")
    start(path, 0, overwrite=overwrite, kill_after=moment)
    for file in path.glob("*.txt"):
        if not file.name.startswith(run_folder.UNFINISHED):
            assert file.read_text() in ("old", "a" * 10_000)
    _begin(path, "new", overwrite=True)
    assert [entry.name for entry in path.iterdir()] == ["config.json"]
    assert _fingerprint(path) == "new"


@pytest.mark.parametrize("name", ["config.json", "checkpoints"])
def test_a_run_killed_while_it_overwrote_another_leaves_a_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _begin(tmp_path)
    (tmp_path / "checkpoints").mkdir()

    def killed(path: Path, *_: object) -> None:
        if path.name == name:
            raise SystemExit

    monkeypatch.setattr(run_folder, "_create" if name == "config.json" else "delete", killed)
    with pytest.raises(SystemExit):
        _begin(tmp_path, "new", overwrite=True)
    monkeypatch.undo()
    with pytest.raises(UserError, match="holds a run already"):
        _begin(tmp_path, "new")
    _begin(tmp_path, "new", overwrite=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.json"]
    assert _fingerprint(tmp_path) == "new"


def test_a_run_killed_while_it_wrote_its_first_file_has_left_no_run(tmp_path: Path) -> None:
    (tmp_path / f"{run_folder.UNFINISHED}1-config.json").write_text('{"half')
    _begin(tmp_path, "new")
    assert _fingerprint(tmp_path) == "new"


def test_a_file_is_whole_or_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with pytest.raises(OSError, match="disk"), run_folder.atomic_file(path) as unfinished:
        assert unfinished.suffix == ".keras"
        unfinished.write_text("half")
        raise OSError("the disk is full")
    assert not list(tmp_path.iterdir())
    run_folder.write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), run_folder.atomic_file(path) as unfinished:
        unfinished.write_text("half")
        raise KeyboardInterrupt
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("model.keras", "old")]


def test_a_file_system_without_hard_links_has_runs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    _begin(tmp_path)
    assert _fingerprint(tmp_path) == "old"
    with (
        pytest.raises(UserError, match="Another run is at work"),
        run_folder.claimed(str(tmp_path / "b"), overwrite=False) as folder,
    ):
        run_folder.write_text(tmp_path / "b" / "config.json", "of another machine")
        folder.begin({})
    assert (tmp_path / "b" / "config.json").read_text() == "of another machine"


def test_the_lock_ends_with_the_context(tmp_path: Path) -> None:
    with run_folder.claimed(str(tmp_path), overwrite=False):
        pass
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(handle)


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with pytest.raises(OSError, match="No space left") as caught, run_folder.atomic_file(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.filename == str(path)
