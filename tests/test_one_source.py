"""`schemas/` is the one place that spells what is on disk: keys of features, names of files, formats."""

import ast
from pathlib import Path

import pytest

from schemas import example, layout, statistics

_TOP = Path(__file__).resolve().parent.parent
_MODULES = sorted(
    path.relative_to(_TOP).as_posix() for package in ("converter", "trainer") for path in (_TOP / package).rglob("*.py")
)
_FILES = {value for name, value in vars(layout).items() if name.isupper() and isinstance(value, str)}
_KEYS = {feature.key for feature in example.features(1)}
# Words that are something else there: fields of a row, columns of a list, outputs, the order of lines on a terminal.
_OTHERWISE = {
    "converter/duplicates/grouping.py": {"filename"},
    "converter/inspect/gallery.py": {"filename"},
    "converter/look/description.py": {"image"},
    "converter/inspect/selection.py": {"filename", "labels", "image"},
    "converter/dataset/lists.py": {"filename"},
    "converter/report/page.py": {"filename"},
    "converter/report/sheets.py": {"filename"},
    "converter/shards/matching.py": {"labels"},
    "converter/table/rows.py": {"labels"},
    "converter/verify/dataset_checks.py": {"filename"},
    "trainer/exporting/compare.py": {"index"},
    "trainer/exporting/serving.py": {"labels"},
    "trainer/system/strategies.py": {"index"},
    "trainer/evaluation/worst.py": {"filename", "labels"},
    "trainer/input/caching.py": {"labels"},
    "trainer/prediction/table.py": {"labels"},
    "trainer/suspects/files.py": {"filename"},
    "trainer/suspects/page.py": {"filename", "labels"},
}


def _texts(module: str) -> set[str]:
    """Returns all texts of a module but its docstrings."""
    tree = ast.parse((_TOP / module).read_text(encoding="utf-8"))
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone
    }


@pytest.mark.parametrize("module", _MODULES)
def test_what_is_on_disk_is_spelled_in_schemas_alone(module: str) -> None:
    spelled = _texts(module) & (_FILES | _KEYS | {statistics.JPEG})
    assert spelled <= _OTHERWISE.get(module, set())
    assert not [text for text in _texts(module) if text.endswith((".tfrecord", ".tfindex"))]
