"""The closed list of reasons."""

import re
from pathlib import Path

from converter.rejects import Reason


def test_the_list_of_reasons() -> None:
    assert [reason.value for reason in Reason] == [
        "bad_row",
        "missing_name",
        "unsafe_path",
        "bad_label",
        "unknown_class",
        "bad_split",
        "duplicate_name",
        "conflicting_rows",
        "missing_file",
        "ambiguous_name",
        "empty_file",
        "unreadable_file",
        "not_an_image",
        "unsupported_format",
        "too_large",
        "corrupt_image",
    ]


def test_every_reason_is_explained() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "rejects.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == [reason.value for reason in Reason]
