"""The text of an engine about a failed job becomes a sentence."""

import pytest

from multihot.beam import engine_text

_TRACEBACK = """Pipeline job-001[job] failed in state FAILED: inst004 failed:Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1512, in process
  File "converter/table/rows.py", line 9, in read_rows
    raise UserError(message)
{cause}
During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "apache_beam/runners/worker/sdk_worker.py", line 312, in _execute
{error}
"""


def _worker(error: str, step: str = " [while running 'ReadRows-ptransform-12']\n\tat org.apache.beam.Fn") -> str:
    return _TRACEBACK.format(cause=error, error=error + step)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param(
            _worker("multihot.errors.UserError: labels.csv line 26: a quoted cell is never closed."),
            "labels.csv line 26: a quoted cell is never closed.",
            id="of a user",
        ),
        pytest.param(_worker("multihot.errors.UserError: one:\n  two\n  three"), "one:\n  two\n  three", id="lines"),
        pytest.param(
            _worker("multihot.storage.files.StoreError: gs://b/1: the store does not answer"),
            "gs://b/1: the store does not answer",
            id="of a store",
        ),
        pytest.param(
            _worker("OSError: [Errno 28] No space left on device: '/data/x'"),
            "/data/x: No space left on device",
            id="of the system",
        ),
        pytest.param(
            _worker("multihot.storage.files.StoreError: [Errno 5] the store's words: 'gs://b/x'"),
            "gs://b/x: the store's words",
            id="of the system, from a store",
        ),
        pytest.param(_worker("KeyError: 'a'"), "The job failed: KeyError: 'a'", id="a defect"),
        pytest.param(_worker("MemoryError", ""), "The job failed: MemoryError", id="without a message"),
        pytest.param(
            "Pipeline job-005 failed in state FAILED: bundle inst013 stage-023 failed:SDK worker disconnected: "
            "worker[x], 1 active instructions, error: context canceled",
            "A worker has ended during its work: it was killed, or there was no memory left.",
            id="no worker",
        ),
        pytest.param(
            "Unable to fetch remote prism binary at https://github.com/x.zip: <urlopen error [Errno -2] No name>",
            "Prism cannot be downloaded: <urlopen error [Errno -2] No name>. `scripts/prism path` builds it, and "
            "prints FILE for --prism_location=FILE.",
            id="no download",
        ),
        pytest.param(
            "Unable to fetch remote job server jar at https://repo/x.jar: HTTP Error 404: Not Found. If no Internet",
            "Beam's job server cannot be downloaded: https://repo/x.jar. Download it elsewhere, start it, and name its "
            "--job_endpoint=HOST:PORT.",
            id="no jar",
        ),
        pytest.param(
            "\nPipeline job-1 failed in state CANCELLED: unknown error\nmore",
            "The job failed: unknown error",
            id="first line",
        ),
        pytest.param(
            _worker("ModuleNotFoundError: No module named 'converter'"),
            "The workers lack a package (No module named 'converter'). They need this one and all that it needs.",
            id="no package",
        ),
        pytest.param(
            "failed to start environment x: unable to create container image a with docker for env x, err: failed to "
            "connect to the docker API",
            "The engine starts workers by Docker, and cannot: failed to connect to the docker API. Workers of other "
            "kinds: --environment_type=LOOPBACK or EXTERNAL.",
            id="no Docker",
        ),
    ],
)  # fmt: skip
def test_the_text_of_an_engine_becomes_a_sentence(text: str, sentence: str) -> None:
    failure = engine_text.failure(text)
    assert str(failure) == sentence
    # Only of a defect, the traceback is shown.
    assert hasattr(failure, "__notes__") == ("KeyError" in text)


def test_a_log_has_the_sentence_about_a_mistake_and_a_defect_as_it_is() -> None:
    assert engine_text.sentence(_worker("multihot.errors.UserError: mend this.")) == "mend this."
    assert engine_text.sentence(_worker("KeyError: 'a'")) == ""
    assert engine_text.sentence("Job 1 is in state JOB_STATE_RUNNING") == ""
