"""A runner repeats a step that may succeed next time; a mistake of the user is handed on to the last step instead."""

import errno
import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from apache_beam.pvalue import TaggedOutput

from converter.job import failures
from converter.job.parallel import InProcesses
from multihot import storage
from multihot.errors import UserError
from multihot.images.decoders import DecoderError
from multihot.storage import StoreError


def _raised(error: Exception, cause: BaseException | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as raised:
        return raised


@pytest.mark.parametrize(
    ("error", "may_pass"),
    [
        pytest.param(UserError("line 3 has two cells"), False, id="a mistake in the table"),
        pytest.param(
            _raised(UserError("x"), FileNotFoundError(errno.ENOENT, "no", "x")), False, id="a file that is gone"
        ),
        pytest.param(_raised(UserError("x"), gzip.BadGzipFile("x")), False, id="damaged contents"),
        pytest.param(StoreError(errno.EACCES, "the store refuses access", "gs://b/x"), False, id="rights"),
        pytest.param(PermissionError(errno.EACCES, "no", "x"), False, id="permissions"),
        pytest.param(StoreError(errno.EIO, "it does not answer", "gs://b/x"), True, id="a store that is down"),
        pytest.param(_raised(UserError("x"), StoreError(errno.EIO, "no", "x")), True, id="a sentence about it"),
        pytest.param(_raised(UserError("x"), MemoryError()), True, id="too little memory"),
        pytest.param(_raised(UserError("x"), DecoderError("no memory")), True, id="a decoder that failed"),
        pytest.param(OSError(errno.EMFILE, "too many open files", "x"), True, id="too many files"),
        pytest.param(TimeoutError(), True, id="no answer in time"),
    ],
)
def test_what_another_attempt_may_not_meet_is_raised_and_the_rest_is_handed_on(
    error: Exception, may_pass: bool
) -> None:
    assert failures.may_pass(error) is may_pass

    def step() -> Iterator[int]:
        yield 1
        raise error

    outputs = failures.handed_on(step())
    assert next(outputs) == 1
    if may_pass:
        with pytest.raises(type(error)):
            next(outputs)
    else:
        (last,) = outputs
        assert isinstance(last, TaggedOutput)
        assert (last.tag, bool(last.value)) == (failures.FAILURES, True)


def test_a_defect_is_not_taken_for_a_mistake_of_the_user() -> None:
    def step() -> Iterator[int]:
        raise KeyError("x")
        yield

    with pytest.raises(KeyError):
        list(failures.handed_on(step()))


def test_a_file_that_cannot_be_read_is_handed_on_as_the_command_line_prints_it(tmp_path: Path) -> None:
    def step() -> Iterator[bytes]:
        yield storage.read(str(tmp_path / "none"))

    (output,) = failures.handed_on(step())
    assert output.value == f"{tmp_path}/none: No such file or directory"


def test_a_mistake_that_is_found_in_parallel_work_is_handed_on_where_steps_are_repeated() -> None:
    def begin(element: tuple[str, list[list[int]]]) -> Callable[[], int]:
        def result() -> int:
            if element[0] == "bad":
                raise UserError("it is bad")
            return sum(map(sum, element[1]))

        return result

    elements = [("good", [[1, 2], [3]]), ("bad", [[4]])]
    step = InProcesses(begin, hands_on=True)
    number, failure = (output for element in elements for output in step.process(element))
    assert number == 6
    assert (failure.tag, failure.value) == (failures.FAILURES, "it is bad")
    with pytest.raises(UserError, match="it is bad"):
        list(InProcesses(begin).process(elements[1]))
