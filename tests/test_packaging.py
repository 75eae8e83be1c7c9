"""The installed package has the contents that setup.cfg names."""

import configparser
import importlib
import importlib.metadata
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

_ROOT = Path(__file__).parents[1]


def _setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(_ROOT / "setup.cfg")
    return parser


def _requirements(text: str) -> list[Requirement]:
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return [Requirement(line) for line in lines]


_DIRECT = _requirements(_setup()["options"]["install_requires"])


@pytest.mark.parametrize("requirement", _DIRECT, ids=lambda requirement: requirement.name)
def test_a_dependency_has_a_lower_and_an_upper_bound_which_what_is_installed_keeps(requirement: Requirement) -> None:
    assert {specifier.operator for specifier in requirement.specifier} == {">=", "<"}
    assert requirement.specifier.contains(importlib.metadata.version(requirement.name), prereleases=True)


def test_classifiers_readme_and_scripts_name_the_versions_of_python_that_can_be_installed() -> None:
    supported = SpecifierSet(_setup()["options"]["python_requires"])
    versions = [f"3.{minor}" for minor in range(30) if f"3.{minor}" in supported]
    classifiers = _setup()["metadata"]["classifiers"]
    assert re.findall(r"Python :: (3\.\d+)$", classifiers, re.MULTILINE) == versions
    assert f"Python {', '.join(versions[:-1])} or {versions[-1]}" in (_ROOT / "README.md").read_text()
    script = (_ROOT / "scripts" / "venv.sh").read_text()
    assert f"for name in {' '.join(f'python{version}' for version in versions)} python3 python;" in script
    assert f"Python {', '.join(versions[:-1])} or {versions[-1]} is needed" in script


@pytest.mark.parametrize("script", _setup()["options.entry_points"]["console_scripts"].strip().splitlines())
def test_a_command_names_a_function(script: str) -> None:
    module, _, function = script.partition(" = ")[2].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_what_is_imported_is_declared() -> None:
    distributions = importlib.metadata.packages_distributions()
    declared = {re.sub(r"[-_.]+", "-", requirement.name).lower() for requirement in _DIRECT}
    # Each of these comes with a declared one, of which it is a part for us.
    declared |= {"grpcio", "h5py", "keras", "numpy", "protobuf"}
    imports = re.compile(r"^\s*(?:import|from) ([a-z_0-9]+)", re.MULTILINE)
    for package in ("converter", "multihot", "schemas", "trainer"):
        for path in (_ROOT / package).rglob("*.py"):
            for name in imports.findall(path.read_text()):
                for distribution in distributions.get(name, []):
                    normal = re.sub(r"[-_.]+", "-", distribution).lower()
                    shared = name == "google" or normal == "multihot"
                    assert shared or normal in declared, f"{path.name} imports {name} of {normal}"


def test_files_beside_the_modules_are_part_of_the_package() -> None:
    data = _setup()["options.package_data"]
    listed = {path for package, globs in data.items() for path in (_ROOT / package.replace(".", "/")).glob(globs)}
    beside = {
        path
        for package in ("converter", "multihot", "schemas", "trainer")
        for path in (_ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert beside == listed


def test_the_docstring_of_each_package_lists_its_modules_and_folders() -> None:
    for package in ("converter", "multihot", "schemas", "trainer"):
        for init in (_ROOT / package).rglob("__init__.py"):
            listed = re.findall(r"^ *(\w+(?:\.py|/)) ", init.read_text(), re.MULTILINE)
            modules = [path.name for path in init.parent.glob("*.py") if not path.name.startswith("__")]
            folders = [f"{path.parent.name}/" for path in init.parent.glob("*/__init__.py")]
            assert {*modules, *folders} <= {*listed}, f"{init.relative_to(_ROOT)} does not list all"
            assert all((init.parent / name).exists() for name in listed), f"{init.relative_to(_ROOT)} lists too much"


def test_the_image_of_workers_has_the_beam_and_the_packages_of_this_checkout() -> None:
    lines = (_ROOT / "Dockerfile").read_text().splitlines()
    arguments = dict(re.findall(r"^ARG (\w+)=(.+)$", "\n".join(lines), re.MULTILINE))
    # An older one is installed by `scripts/test --lowest`.
    assert Version(arguments["BEAM"]) >= Version(importlib.metadata.version("apache-beam"))
    assert arguments["BEAM"] in next(each.specifier for each in _DIRECT if each.name == "apache-beam")
    assert arguments["PYTHON"] in SpecifierSet(_setup()["options"]["python_requires"])
    (base,) = (line for line in lines if line.startswith("FROM "))
    assert base == "FROM apache/beam_python${PYTHON}_sdk:${BEAM}"
    copied = {name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]}
    assert [name for name in copied if not (_ROOT / name).exists()] == []
    assert copied == set(re.findall(r"^!(.+)$", (_ROOT / ".dockerignore").read_text(), re.MULTILINE))
    # What pip needs to install the package.
    found = {line.partition(".")[0] for line in _setup()["options.packages.find"]["include"].split()}
    assert copied == found | {"LICENSE", "README.md", "pyproject.toml", "setup.cfg"}
