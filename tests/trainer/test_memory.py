"""How much memory and disk is left, as control groups and file systems tell."""

from pathlib import Path

import psutil
import pytest

from trainer import memory


def _group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content + "\n")


@pytest.fixture
def cgroups(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


def _available(cgroups: Path, membership: str) -> int:
    path = cgroups.parent / "membership"
    path.write_text(membership + "\n")
    return memory.available(cgroups, path)


def test_without_control_groups_it_is_what_the_machine_has(tmp_path: Path) -> None:
    found = memory.available(tmp_path / "none", tmp_path / "none")
    assert found == pytest.approx(psutil.virtual_memory().available, rel=0.1)


def test_a_container_has_what_its_limit_leaves(cgroups: Path) -> None:
    _group(cgroups, memory__max="1000", memory__current="700", memory__stat="anon 500\ninactive_file 150")
    assert _available(cgroups, "0::/") == 450


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [("1000", "500", 400), ("300", "5000", 200), ("max", "600", 500), ("900", "max", 800)],
)
def test_the_tightest_of_nested_limits_counts(cgroups: Path, outer: str, inner: str, expected: int) -> None:
    for folder, limit in ((cgroups / "a", outer), (cgroups / "a" / "b", inner)):
        _group(folder, memory__max=limit, memory__current="100", memory__stat="inactive_file 0")
    assert _available(cgroups, "0::/a/b") == expected


def test_version_1_is_read_as_well(cgroups: Path) -> None:
    _group(
        cgroups / "memory" / "docker" / "x",
        memory__limit_in_bytes="2000",
        memory__usage_in_bytes="1500",
        memory__stat="total_inactive_file 200",
    )
    assert _available(cgroups, "9:cpu,cpuacct:/\n4:memory:/docker/x\n1:name=systemd:/") == 700


def test_a_group_over_its_limit_has_nothing_left(cgroups: Path) -> None:
    _group(cgroups, memory__max="100", memory__current="700", memory__stat="inactive_file 0")
    assert _available(cgroups, "0::/") == 0


def test_the_disk_is_that_of_the_folder_to_be(tmp_path: Path) -> None:
    expected = psutil.disk_usage(str(tmp_path)).free
    assert memory.free_disk(str(tmp_path / "not" / "there")) == pytest.approx(expected, rel=0.1)
