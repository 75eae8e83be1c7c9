"""The import rule: the converter and the trainer meet only on disk."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

_TOP = Path(__file__).resolve().parent.parent
_MODULES = sorted(
    path.relative_to(_TOP).as_posix()
    for package in ("schemas", "converter", "trainer")
    for path in (_TOP / package).rglob("*.py")
)
_KNOW_BEAM = {
    "converter/job/graph.py",
    "converter/job/parallel.py",
    "converter/job/pipeline.py",
    "converter/job/runners.py",
    "converter/system/storage.py",
}
_DEFINE_FLAGS = {"converter/main.py", "trainer/main.py"}


def _imports(source: str) -> set[str]:
    """Returns the full names of all that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute, so that this test can read them"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _import(module: str, *packages: str) -> set[str]:
    """Returns what a module imports of these packages."""
    names = _imports((_TOP / module).read_text(encoding="utf-8"))
    return {name for name in names if any(f"{name}.".startswith(f"{package}.") for package in packages)}


def test_finds_imports_in_every_form() -> None:
    source = "import a.b\nfrom c import d\ndef f():\n    from e.g import h as i, j\n"
    assert _imports(source) == {"a.b", "c.d", "e.g.h", "e.g.j"}


def test_sees_the_modules_of_all_three_packages() -> None:
    assert {"schemas/metadata.py", "converter/job/pipeline.py", "trainer/train.py"} <= set(_MODULES)


@pytest.mark.parametrize("module", _MODULES)
def test_packages_import_only_what_they_may(module: str) -> None:
    forbidden = {
        "schemas": ("converter", "trainer", "scripts", "tests"),
        "converter": ("trainer", "scripts", "tests"),
        "trainer": ("converter", "scripts", "tests"),
    }
    assert not _import(module, *forbidden[module.split("/")[0]])


@pytest.mark.parametrize("module", _MODULES)
def test_beam_is_known_in_five_modules(module: str) -> None:
    assert bool(_import(module, "apache_beam")) == (module in _KNOW_BEAM)


@pytest.mark.parametrize("module", _MODULES)
def test_flags_are_defined_only_by_the_command_lines(module: str) -> None:
    # Its parser of arguments defines none.
    assert bool(_import(module, "absl.flags") - {"absl.flags.argparse_flags"}) == (module in _DEFINE_FLAGS)


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        pytest.param("converter.main", ["tensorflow", "sklearn"], id="the converter"),
        pytest.param("converter.shards.writing", ["tensorflow", "apache_beam"], id="the processes that write shards"),
        pytest.param("converter.__main__", ["converter.main"], id="the main module, which these import too"),
        pytest.param("converter.inspect.selection", ["tensorflow", "apache_beam"], id="who looks into a dataset"),
    ],
)
def test_imports_what_takes_seconds_only_when_it_is_needed(module: str, unwanted: list[str]) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], cwd=_TOP, capture_output=True, text=True, check=True)
    assert not set(unwanted) & set(found.stdout.split())
