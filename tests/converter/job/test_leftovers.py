"""The message of a conversion that did not end well names the files that it leaves."""

import itertools
import types
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from converter.job import leftovers, pipeline
from converter.options import ConvertOptions
from multihot.beam import remote
from multihot.errors import UserError
from schemas import layout


def _options(output: str) -> ConvertOptions:
    return ConvertOptions(csv="labels.csv", images="images", output=output)


def _finish(folder: Path, number: int) -> None:
    # A shard that was written twice is one shard.
    for i, attempt in itertools.product(range(number), "ab"):
        path = folder / layout.shard_origin(layout.attempt(layout.shard("train", i, 8), attempt))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (0, "No shard was finished. The same command starts again, in {}."),
        (1, "1 finished shard is kept in {}: the same command continues with the others."),
        (3, "3 finished shards are kept in {}: the same command continues with the others."),
    ],
)
def test_finished_shards_are_counted(number: int, sentence: str, tmp_path: Path) -> None:
    output = tmp_path / "my data; it's"
    incomplete = output / "dataset/1.0.0.incomplete"
    incomplete.mkdir(parents=True)
    _finish(incomplete, number)
    first, clear = leftovers.describe(_options(str(output))).splitlines()
    assert first == sentence.format(incomplete)
    quoted = str(incomplete).replace("'", "'\"'\"'")
    assert clear == f"To clear it: rm -r '{quoted}'"


def test_nothing_is_said_of_nothing(tmp_path: Path) -> None:
    assert leftovers.describe(_options(str(tmp_path))) == ""


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (
            ["--runner=DataflowRunner"],
            "If the job was submitted to DataflowRunner, it may still run there. Cancel it there.",
        ),
        (
            ["--runner=PortableRunner", "--job_endpoint=host:8073"],
            "If the job was submitted to host:8073, it may still run there, and publish the dataset. It can be "
            "cancelled there; if the same command is run again, it publishes nothing.",
        ),
    ],
)
def test_a_job_on_other_machines_may_go_on(flags: list[str], sentence: str, tmp_path: Path) -> None:
    job = remote.Job(PipelineOptions(flags), pipeline._WORDS)
    assert leftovers.describe(_options(str(tmp_path)), job) == ""
    pipeline_ = types.SimpleNamespace(run=lambda: exec("raise KeyboardInterrupt"))
    with pytest.raises(KeyboardInterrupt):
        job.run(pipeline_, _options(str(tmp_path)))
    assert leftovers.describe(_options(str(tmp_path)), job) == sentence


@pytest.mark.parametrize(
    ("store", "command"),
    [
        ("gs", "gcloud storage rm --recursive gs://bucket/dataset/1.0.0.incomplete"),
        ("s3", "aws s3 rm --recursive s3://bucket/dataset/1.0.0.incomplete"),
        ("az", "delete all objects below az://bucket/dataset/1.0.0.incomplete/"),
    ],
)
def test_a_store_is_cleared_by_its_own_command(store: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    note = leftovers.storage.File(layout.shard_origin(layout.attempt(layout.shard("train", 0, 8), "a")), "", 2, 0)
    monkeypatch.setattr(leftovers.storage, "list_files", lambda _: iter([note]))
    incomplete = f"{store}://bucket/dataset/1.0.0.incomplete"
    lines = leftovers.describe(_options(f"{store}://bucket")).splitlines()
    assert lines == [
        f"1 finished shard is kept in {incomplete}: the same command continues with the others.",
        f"To clear it: {command}",
    ]


@pytest.mark.parametrize(
    "error", [UserError("bad"), OSError(28, "full"), ZeroDivisionError(), KeyboardInterrupt()], ids=repr
)
def test_whatever_ends_a_conversion_says_it(
    error: BaseException, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("converter.shards.writing.write_shard", fails)
    options = ConvertOptions(csv=f"{scenes}/labels.csv", images=f"{scenes}/images", output=str(tmp_path))
    with pytest.raises(BaseException) as raised:
        pipeline.convert(options)
    assert raised.value.__notes__[-1] == leftovers.describe(options)
    assert raised.value.__notes__[-1].startswith("No shard was finished. ")


def test_a_conversion_that_is_refused_says_nothing_of_what_another_one_has_left(scenes: Path, tmp_path: Path) -> None:
    options = ConvertOptions(csv=f"{scenes}/labels.csv", images=f"{scenes}/images", output=str(tmp_path))
    Path(options.incomplete).mkdir(parents=True)
    with pipeline.publishing.locked(f"{tmp_path}/dataset"), pytest.raises(UserError, match="running") as raised:
        pipeline.convert(options)
    assert not getattr(raised.value, "__notes__", [])
