"""A job of Beam writes the rows that the command writes without one, whatever the engine does with its parts."""

import contextlib
import csv
import functools
import io
import itertools
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd
import psutil
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from hypothesis import given
from hypothesis import strategies as st

from hostile import Engine
from multihot import formulas, storage
from multihot.beam import runners
from multihot.errors import UsageError, UserError
from multihot.limits import DEFAULT
from multihot.storage import File
from store_server import Server
from trainer import finished_run, model_file, predict
from trainer.model_file import ModelInfo
from trainer.prediction import table
from trainer.prediction_job import folder as folders
from trainer.prediction_job import handler, job, joining
from trainer.prediction_job.folder import Folder
from trainer.prediction_job.handler import Predictor
from trainer.system import devices, numerics

_ROOT = Path(__file__).parents[3]
_FEW, _MANY = 7, 1500
Predict = Callable[..., None]


@pytest.fixture(scope="module")
def photos(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with images of all kinds, and files that cannot be used."""
    folder = tmp_path_factory.mktemp("photos")
    good = (source / "images" / "rgb.jpg").read_bytes()
    for path in (source / "images").iterdir():
        if not path.name.startswith(("train", "jpegs")):
            shutil.copy(path, folder / path.name)
    (folder / "deeper").mkdir()
    contents = {
        '=cmd, "a" & <b>.jpg': good,
        "cut.jpg": good[: len(good) // 2],
        "deeper/é.jpg": good,
        "empty.jpg": b"",
        "notes.txt": b"text",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def expected(photos: Path, finished: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Returns the rows of the command without a job."""
    output = tmp_path_factory.mktemp("expected") / "rows.csv"
    predict.main(*predict._parse(["predict", f"--run={finished}", f"--output={output}", str(photos)]))
    return output.read_bytes()


@pytest.fixture(scope="module")
def model_zip(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the file of the exported model. To export it takes most of the time of a small job."""
    run = finished_run.find(str(finished))
    folder = _folder(tmp_path_factory.mktemp("exported"), run.info)
    job._export(run, folder)
    return Path(folder.path) / "model.zip"


@pytest.fixture
def predict_on(
    finished: Path, model_zip: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Predict:
    """Returns the function that runs a job in this process, with small parts."""
    monkeypatch.setattr(folders, "_MOST_FILES", _FEW)
    monkeypatch.setattr(job, "_export", lambda _, folder: shutil.copy(model_zip, f"{folder.path}/model.zip"))

    def run(*words: object, output: object = tmp_path / "job.csv") -> None:
        argv = ["predict", f"--run={finished}", "--runner=FnApiRunner", f"--output={output}"]
        predict.main(*predict._parse([*argv, *map(str, words or (photos,))]))

    return run


def test_a_job_writes_the_rows_of_the_command_without_one(
    predict_on: Predict, expected: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict_on()
    assert (tmp_path / "job.csv").read_bytes() == expected
    assert len(expected.splitlines()) > 5 * _FEW
    assert [path.name for path in tmp_path.iterdir()] == ["job.csv"]
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("37 images predicted, ")
    assert said[1:] == [
        "Could not be used: 3 of the files (corrupt_image 1, empty_file 1, not_an_image 1). The column `reason` names "
        "the cause.",
        f"Rows: {tmp_path}/job.csv",
    ]


def test_workers_compute_in_the_type_that_was_asked_for(
    predict_on: Predict, photos: Path, expected: bytes, tmp_path: Path
) -> None:
    if not devices.processor_computes_bfloat16_fast():
        pytest.skip("needs a processor with AMX, and no GPU")
    try:
        predict_on(photos, "--precision=auto")
    finally:
        numerics.choose_for_predictions("float32")
    found, exact = (pd.read_csv(io.BytesIO(rows)) for rows in ((tmp_path / "job.csv").read_bytes(), expected))
    columns = [name for name in exact if name.startswith("p_")]
    assert not found[columns].equals(exact[columns])
    pd.testing.assert_frame_equal(found[["file", *columns]], exact[["file", *columns]], rtol=0, atol=0.02)


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param(lambda _: FnApiRunner(bundle_repeat=2), id="repeated bundles"),
        *(
            pytest.param(functools.partial(Engine, seed), marks=pytest.mark.slow, id=f"hostile {seed}")
            for seed in range(2)
        ),
    ],
)
def test_attempts_that_are_repeated_or_die_or_come_late_change_nothing(
    engine: Callable[[str], FnApiRunner],
    predict_on: Predict,
    expected: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = engine(str(tmp_path))
    monkeypatch.setattr(runners, "runner", lambda _: made)
    predict_on()
    assert (tmp_path / "job.csv").read_bytes() == expected
    if isinstance(made, Engine):
        made.wake()
        assert made.counts["died"] + made.counts["late"]
        assert (tmp_path / "job.csv").read_bytes() == expected
    assert [path.name for path in tmp_path.iterdir()] == ["job.csv"]


def test_goes_on_with_the_parts_whose_files_are_the_same(
    predict_on: Predict,
    expected: bytes,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(photos, copy)

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device", "job.csv")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left") as caught:
        patch.setattr(joining, "join", fails)
        predict_on(copy)
    (folder,) = tmp_path.glob(".job.csv.*.parts")
    assert caught.value.__notes__ == [f"The rows so far are kept in {folder}: the same command goes on."]
    assert not (tmp_path / "job.csv").exists()
    assert len(list((folder / "rows").iterdir())) == 6
    # All files behind it are in other places of the list.
    shutil.copy(photos / "rgb.jpg", copy / "rgb.jpg.jpg")
    rows, again = Predictor.rows, list[int]()
    monkeypatch.setattr(Predictor, "rows", lambda self, part: again.append(part.number) or rows(self, part))
    predict_on(copy)
    place = sorted(path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()).index("rgb.jpg.jpg")
    assert sorted(again) == list(range(place // _FEW, 6))
    first, *others = table.whole_rows(io.BytesIO(expected.replace(bytes(photos), bytes(copy))))
    (same,) = (row for row in others if b"/rgb.jpg," in row)
    assert (tmp_path / "job.csv").read_bytes() == b"".join(
        [first, *sorted([*others, same.replace(b"rgb.jpg", b"rgb.jpg.jpg")], key=_name)]
    )
    assert f"Going on after {place // _FEW * _FEW} of 41 files." in capsys.readouterr().out
    assert not folder.exists()


def _name(row: bytes) -> str:
    return formulas.unescaped(next(csv.reader([row.decode()]))[0])


def test_replaces_rows_only_if_asked(predict_on: Predict, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "job.csv").write_text("mine")
    with pytest.raises(UserError, match=r"exists\. Choose another --output"):
        predict_on()
    (tmp_path / ".job.csv.0123456789ab.parts" / "rows").mkdir(parents=True)
    (tmp_path / ".job.csv.other").mkdir()
    predict_on(photos / "rgb.jpg", "--overwrite")
    assert len((tmp_path / "job.csv").read_text().splitlines()) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [".job.csv.other", "job.csv"]


@pytest.mark.parametrize(("bucket", "ending"), [("s3", "csv"), ("gs", "parquet")], indirect=["bucket"])
def test_images_parts_and_rows_may_be_in_a_store(
    bucket: str,
    ending: str,
    server: Server,
    photos: Path,
    finished: Path,
    model_zip: Path,
    expected: bytes,
    predict_on: Predict,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = [path for path in photos.rglob("*") if path.is_file()]
    server.put("bucket", {f"photos/{path.relative_to(photos)}": path.read_bytes() for path in files})
    output = f"{bucket}/out/rows.{ending}"
    with pytest.raises(UsageError, match="--output must be a file of this machine, without --runner"):
        predict._parse(["predict", f"--run={finished}", f"--output={output}", "a"])
    monkeypatch.setattr(
        job, "_export", lambda _, folder: storage.write(f"{folder.path}/model.zip", model_zip.read_bytes())
    )
    predict_on(f"{bucket}/photos", output=output)
    rows = expected.replace(bytes(photos), f"{bucket}/photos".encode())
    if ending == "parquet":
        lines = itertools.islice(table.whole_rows(io.BytesIO(rows)), 1, None)
        with (tmp_path / "rows.parquet").open("wb") as file:
            table.Format(model_file.read(finished / "model.keras")).write_parquet(lines, file)
        rows = (tmp_path / "rows.parquet").read_bytes()
    assert storage.read(output) == rows
    assert [key for key in server.objects("bucket") if key.startswith("out/")] == [f"out/rows.{ending}"]


def test_flags_of_beam_are_told_from_files() -> None:
    ours = ["predict", "--run=r", "a.jpg"]
    options, beam_flags = predict._parse(
        [*ours, "--runner=PrismRunner", "--environment_type=EXTERNAL", "b", "--", "--odd.jpg"]
    )
    assert (options.files, options.runner) == (("a.jpg", "b", "--odd.jpg"), "PrismRunner")
    assert beam_flags == ["--environment_type=EXTERNAL"]
    with pytest.raises(UsageError, match="Unknown flag --environment_type"):
        predict._parse([*ours, "--environment_type=EXTERNAL"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--runner=FnApiRunner", "--bacth_size=3"], "Unknown flag --bacth_size. Did you mean --batch_size?"),
        (["--runner=FnApiRunner", "--dry_run=True"], "--dry_run, .* are for runners on other machines"),
        (["--runner=NoSuchRunner"], "--runner=NoSuchRunner is not available"),
        (["--runner=PrismRunner", "--no_wait_until_finish"], "--dry_run, .* leave nobody to join the rows"),
        (["--runner=PortableRunner"], "--runner=PortableRunner needs the job server of an engine"),
    ],
)
def test_what_cannot_run_is_one_sentence_before_any_work(
    words: Sequence[str], sentence: str, predict_on: Predict
) -> None:
    with pytest.raises(UserError, match=f"^{sentence}"):
        predict_on("no such place", *words)


def test_dataflow_needs_images_in_a_store_and_can_write_rows_to_this_machine(predict_on: Predict) -> None:
    pytest.importorskip("google.cloud.dataflow", reason="needs the extra `gcp`")
    dataflow = ["--runner=DataflowRunner", "--project=my-project", "--region=us-central1", "--temp_location=gs://b/tmp"]
    with pytest.raises(UserError, match=r"^FILE must be a path that the workers of Dataflow can open.*: 'here'"):
        predict_on("here", *dataflow)
    with pytest.raises(UserError, match=r"^--temp_location is required"):
        predict_on("gs://b/photos", *dataflow[:-1])
    assert folders.path("p.csv", "0123456789abcdef", "gs://b/tmp/") == "gs://b/tmp/.p.csv.0123456789ab.parts"


@pytest.fixture(scope="module")
def info(finished: Path) -> ModelInfo:
    return model_file.read(finished / "model.keras")


def _folder(path: Path, info: ModelInfo) -> Folder:
    return Folder(path=str(path), base="/base", info=info, limits=DEFAULT, batch_size=4, precision="float32")


@given(
    names=st.lists(st.text(st.characters(codec=None, categories=None), min_size=1), max_size=40),
    num_files=st.integers(0, 100),
)
def test_the_parts_of_a_list_have_all_files_in_order(
    names: list[str], num_files: int, info: ModelInfo, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = _folder(tmp_path_factory.mktemp("job"), info)
    parts = folder.write_list((File(name, name, 0) for name in names), num_files)
    assert [name for part in parts for name in folder.read_list(part)] == names
    assert [part.number for part in parts] == list(range(len(parts)))
    assert all(part.num_files <= 32 for part in parts)
    assert folder.write_list((File(name, name, 0) for name in names), num_files) == parts


def test_the_rows_of_a_part_are_few_where_there_are_many_classes(info: ModelInfo, tmp_path: Path) -> None:
    for num_classes, most in ((4, 1024), (100_000, 55), (10**8, 1)):
        many = ModelInfo(**{**vars(info), "classes": ("c",) * num_classes})
        assert _folder(tmp_path, many)._files_of_a_part(10**7) == most


def test_a_worker_that_cannot_do_the_job_is_one_sentence(info: ModelInfo, tmp_path: Path) -> None:
    folder = _folder(tmp_path / "elsewhere", info)
    with pytest.raises(UserError, match=r"^A worker finds no model in .*elsewhere\. On other machines, --output and"):
        folder.unpack_model(str(tmp_path))
    with pytest.raises(UserError, match=r"^The workers have multihot .* and the job was submitted by multihot 0\. "):
        handler.Handler(folder, "multihot 0").load_model()
    (part,) = folder.write_list([File("a", "a", 0)], 1)
    folder.write_list([File("b", "b", 0)], 1)
    with pytest.raises(UserError, match="was replaced by another command, with other files"):
        folder.read_list(part)
    storage.delete(f"{folder.path}/files")
    with pytest.raises(UserError, match="was deleted: another command has completed the rows"):
        folder.read_list(part)
    with pytest.raises(UserError, match="lacks the rows of 1 of 1 parts"):
        joining.join(folder, [part], str(tmp_path / "rows.csv"))
    storage.write(f"{folder.path}/rows/{part.name}", b"a,,,\nb,,,\n")
    with pytest.raises(UserError, match=r"are 2, for 1 files"):
        joining.join(folder, [part], str(tmp_path / "rows.csv"))
    assert not (tmp_path / "rows.csv").exists()
    # A late attempt makes no folder again.
    folder.delete()
    folder.write_rows(part, b"a,,,\n")
    assert not Path(folder.path).exists()


def test_images_that_are_on_another_machine_are_no_rows(info: ModelInfo, model_zip: Path, tmp_path: Path) -> None:
    folder = _folder(tmp_path, info)
    shutil.copy(model_zip, tmp_path / "model.zip")
    (part,) = folder.write_list([File(name, f"photos/{name}.jpg", 0) for name in "ab"], 2)
    with pytest.raises(UserError, match=r"^A worker finds none of 2 files, such as /base/photos/a\.jpg\. On other"):
        Predictor(folder).rows(part)


@contextlib.contextmanager
def _start(finished: Path, cwd: Path, *words: object) -> Iterator[subprocess.Popen[str]]:
    """Starts the program. A test that fails does not wait for its end."""
    command = [sys.executable, "-m", "trainer.predict", f"--run={finished}", *map(str, words)]
    # Of this checkout, in another folder.
    program = f"import sys; sys.path.insert(0, {str(_ROOT)!r}); sys.argv = {command[2:]!r}; from trainer import predict"
    command = [sys.executable, "-c", f"{program}; predict.run()"]
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_workers_in_processes_of_their_own_write_the_same_rows(
    engine: str, pool: tuple[str, int], finished: Path, photos: Path, expected: bytes, tmp_path: Path
) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    portable = ["--runner=PortableRunner", f"--job_endpoint={engine}"]
    external = ["--environment_type=EXTERNAL", f"--environment_config={pool[0]}"]
    # The workers are in another folder.
    with _start(finished, tmp_path, "photos", "--output=job.csv", *portable, *external) as process:
        said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "Could not be used: 3 of the files" in said
    assert not errors
    assert (tmp_path / "job.csv").read_bytes() == expected.replace(bytes(photos), b"photos")


@pytest.mark.slow
@pytest.mark.extended
def test_a_worker_that_is_killed_costs_only_its_part(
    engine: str, pool: tuple[str, int], finished: Path, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(_MANY):
        (tmp_path / "photos" / f"{i:04}.jpg").hardlink_to(source / "images" / "rgb.jpg")
    words = ["photos", "--output=job.csv", "--batch_size=4", "--runner=PortableRunner", f"--job_endpoint={engine}"]
    words += ["--environment_type=EXTERNAL", f"--environment_config={pool[0]}"]
    with _start(finished, tmp_path, *words) as process:
        while len(list(tmp_path.glob(".job.csv.*.parts/rows/*.csv"))) < 3:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        (worker,) = psutil.Process(pool[1]).children()
        worker.suspend()
        # Prism waits for ever for a worker that ends between two steps.
        assert len(list(tmp_path.glob(".job.csv.*.parts/rows/*.csv"))) < _MANY // 32
        worker.kill()
        errors = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == 1
    assert errors[0] == "error: A worker has ended during its work: it was killed, or there was no memory left."
    assert errors[1].startswith("The rows so far are kept in ")
    with _start(finished, tmp_path, *words) as process:
        said, others = process.communicate(timeout=300)
    assert process.returncode == 0, others
    assert "Going on after " in said
    rows = (tmp_path / "job.csv").read_text().splitlines()[1:]
    assert [row.partition(",")[0] for row in rows] == [f"photos/{i:04}.jpg" for i in range(_MANY)]
    assert len({row.partition(",")[2] for row in rows}) == 1
