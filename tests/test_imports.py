"""The import rule: the converter and the trainer meet only on disk."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

_TOP = Path(__file__).resolve().parent.parent
_MODULES = sorted(
    path.relative_to(_TOP).as_posix()
    for package in ("multihot", "schemas", "converter", "trainer")
    for path in (_TOP / package).rglob("*.py")
)


def _listed(package: str) -> list[str]:
    """Returns the modules and wings of a package, from top to bottom, as its docstring lists them."""
    return re.findall(r"^(\w+)(?:\.py|/) ", (_TOP / package / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE)


_ORDERS = {package: ["__init__", "__main__", *_listed(package)] for package in ("converter", "trainer")}
_IN_WINGS = [module for module in _MODULES if module.startswith(("converter/", "trainer/"))]


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


def _used(source: str, package: str = "converter") -> dict[str, set[str]]:
    """Returns for each module of a package that a module imports which of its names it uses."""
    tree, local, used = ast.parse(source), {}, defaultdict[str, set[str]](set)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(f"{package}."):
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if f"{name.replace('.', '/')}.py" in _MODULES:
                    local[alias.asname or alias.name] = name
                    used[name] |= set()
                else:
                    used[f"{node.module}"].add(alias.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in local:
            used[local[node.value.id]].add(node.attr)
    return dict(used)


def test_finds_imports_in_every_form() -> None:
    source = "import a.b\nfrom c import d\ndef f():\n    from e.g import h as i, j\n"
    assert _imports(source) == {"a.b", "c.d", "e.g.h", "e.g.j"}


def test_sees_the_modules_of_all_packages() -> None:
    assert {"multihot/flags.py", "schemas/metadata.py", "converter/job/pipeline.py", "trainer/train.py"} <= set(
        _MODULES
    )


@pytest.mark.parametrize("module", _MODULES)
def test_packages_import_only_what_they_may(module: str) -> None:
    forbidden = {
        "multihot": ("converter", "schemas", "trainer", "scripts", "tests"),
        "schemas": ("converter", "trainer", "scripts", "tests"),
        "converter": ("trainer", "scripts", "tests"),
        "trainer": ("converter", "scripts", "tests"),
    }
    assert not _import(module, *forbidden[module.split("/")[0]])


@pytest.mark.parametrize("module", _MODULES)
def test_beam_is_known_to_jobs_alone(module: str) -> None:
    if not module.startswith(("converter/job/", "multihot/beam/", "trainer/prediction_job/")):
        assert not _import(module, "apache_beam")


@pytest.mark.parametrize("module", _MODULES)
def test_one_package_knows_the_client_of_stores(module: str) -> None:
    if not module.startswith("multihot/storage/"):
        assert not _import(module, "obstore", "multihot.storage.connections")


@pytest.mark.parametrize("module", _IN_WINGS)
def test_a_wing_imports_only_what_is_public_of_the_wings_below_it(module: str) -> None:
    package, wing = module.removesuffix(".py").split("/")[:2]
    order = _ORDERS[package]
    for name, used in _used((_TOP / module).read_text(encoding="utf-8"), package).items():
        other = name.split(".")[1]
        if other != wing:
            assert order.index(other) > order.index(wing), f"{name} stands above {module}"
            # The modules beside the wings are there for all: options, limits, ...
            alone = len(used) == 1 and name.count(".") == 2
            assert not (alone and all(map(str.isupper, used))), f"{module} imports {name} for one constant"
        assert not [each for each in used if re.match("_(?!_)", each)], f"{module} uses what is private in {name}"


def test_finds_what_a_module_uses_of_others() -> None:
    source = "from converter.splits import assignment as a\nfrom converter.text import some\na.split(a._x)\nsome._y\n"
    assert _used(source) == {"converter.splits.assignment": {"split", "_x"}, "converter.text": {"some"}}


@pytest.mark.parametrize("package", _ORDERS)
def test_the_order_of_the_wings_names_all_of_them(package: str) -> None:
    assert {"system", "report", "main"} <= set(_ORDERS[package])
    found = {module.split("/")[1].removesuffix(".py") for module in _IN_WINGS if module.startswith(f"{package}/")}
    assert found == set(_ORDERS[package]) - {"experiments"}


@pytest.mark.parametrize(
    "wing", [wing for wing in _listed("trainer") if (_TOP / "trainer" / wing / "__init__.py").exists()]
)
def test_a_module_of_a_wing_of_the_trainer_imports_only_modules_below_it(wing: str) -> None:
    order = _listed(f"trainer/{wing}")
    for path in (_TOP / "trainer" / wing).glob("[!_]*.py"):
        for name in _used(path.read_text(encoding="utf-8"), f"trainer.{wing}"):
            assert order.index(name.split(".")[2]) > order.index(path.stem), f"{name} stands above {path}"
    assert sorted(order) == sorted(path.stem for path in (_TOP / "trainer" / wing).glob("[!_]*.py"))


@pytest.mark.parametrize("module", _MODULES)
def test_flags_are_made_in_one_place(module: str) -> None:
    assert bool(_import(module, "absl.flags")) == (module == "multihot/flags.py")
    # Beam's own options are those of argparse.
    assert bool(_import(module, "argparse")) == (module == "multihot/beam/runners.py")


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        pytest.param("converter.main", ["tensorflow", "sklearn"], id="the converter"),
        pytest.param(
            "converter.shards.writing, converter.duplicates.neighbours, converter.duplicates.lookalikes",
            ["tensorflow", "apache_beam", "pyarrow"],
            id="the processes that write shards and compare images",
        ),
        pytest.param("converter.__main__", ["converter.main"], id="the main module, which these import too"),
        pytest.param("trainer.run_folder", ["pandas", "tensorflow"], id="the folder of a run"),
        pytest.param("trainer.main", ["tensorflow", "keras", "sklearn"], id="the command line of the trainer"),
        pytest.param("trainer.predict", ["tensorflow", "keras", "apache_beam"], id="the command that predicts"),
        pytest.param("trainer.metrics", ["tensorflow", "keras"], id="the metrics"),
        pytest.param("converter.inspect.selection", ["tensorflow", "apache_beam"], id="who looks into a dataset"),
        pytest.param("converter.look.program", ["tensorflow", "apache_beam", "pandas"], id="who looks at a table"),
    ],
)
def test_imports_what_takes_seconds_only_when_it_is_needed(module: str, unwanted: list[str]) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], cwd=_TOP, capture_output=True, text=True, check=True)
    assert not set(unwanted) & set(found.stdout.split())
