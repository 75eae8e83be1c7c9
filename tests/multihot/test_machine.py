"""How many cores there are, and how much memory and disk is left, as the system and its control groups tell."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from multihot import machine
from multihot.errors import UserError


def _group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content + "\n")


@pytest.fixture
def cgroups(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


@pytest.fixture
def sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)))


def _membership(cgroups: Path, text: str) -> Path:
    path = cgroups.parent / "membership"
    path.write_text(text + "\n")
    return path


def _available(cgroups: Path, membership: str) -> int:
    return machine.available_memory(cgroups, _membership(cgroups, membership))


def _cores(cgroups: Path, membership: str) -> int:
    return machine.usable_cores(cgroups, _membership(cgroups, membership))


def test_without_control_groups_it_is_what_the_machine_has(tmp_path: Path) -> None:
    found = machine.available_memory(tmp_path / "none", tmp_path / "none")
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
    assert machine.free_disk(str(tmp_path / "not" / "there")) == pytest.approx(expected, rel=0.1)


def test_affinity_limits_the_cores(tmp_path: Path) -> None:
    program = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from multihot import machine; "
    program += "print(machine.usable_cores())"
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "1"


@pytest.mark.usefixtures("sixteen_cores")
@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        pytest.param("max 100000", 16, id="no quota"),
        pytest.param("200000 100000", 2, id="two cores"),
        pytest.param("150000 100000", 2, id="one and a half"),
        pytest.param("5000 100000", 1, id="a twentieth"),
        pytest.param("25000 5000", 5, id="another period"),
        pytest.param("9900000 100000", 16, id="more than there are"),
        pytest.param("nonsense", 16, id="what no kernel writes"),
    ],
)
def test_a_quota_limits_the_cores(cgroups: Path, limit: str, expected: int) -> None:
    _group(cgroups / "a", cpu__max=limit)
    assert _cores(cgroups, "0::/a") == expected


@pytest.mark.usefixtures("sixteen_cores")
def test_the_quota_of_a_group_above_counts(cgroups: Path) -> None:
    _group(cgroups / "a", cpu__max="300000 100000")
    _group(cgroups / "a" / "b", cpu__max="max 100000")
    assert _cores(cgroups, "0::/a/b") == 3


@pytest.mark.usefixtures("sixteen_cores")
@pytest.mark.parametrize(("quota", "expected"), [("-1", 16), ("350000", 4)])
def test_a_quota_of_version_1_counts(cgroups: Path, quota: str, expected: int) -> None:
    _group(cgroups / "cpu" / "docker" / "x", cpu__cfs_quota_us=quota, cpu__cfs_period_us="100000")
    assert _cores(cgroups, "9:cpu,cpuacct:/docker/x\n4:memory:/\n1:name=systemd:/") == expected


@pytest.mark.usefixtures("sixteen_cores")
def test_without_control_groups_all_allowed_cores_count(tmp_path: Path) -> None:
    assert machine.usable_cores(tmp_path / "none", tmp_path / "none") == 16


def test_a_limit_of_address_space_counts() -> None:
    program = """
import resource
from multihot import machine
from multihot.errors import UserError
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
print(machine.available_memory())
"""
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert 1 << 30 < int(found.stdout) < 3 << 30


def test_what_cannot_be_loaded_is_said_before_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "available_memory", lambda: 150_000_000)
    machine.check_memory(150_000_000, "TensorFlow")
    with pytest.raises(UserError, match="TensorFlow needs 280 MB of memory, and 150 MB are left"):
        machine.check_memory(280_000_000, "TensorFlow")
    monkeypatch.setattr(machine, "addresses_left", lambda: None)
    machine.check_addresses(1 << 60, "TensorFlow")
    monkeypatch.setattr(machine, "addresses_left", lambda: 1_500_000_000)
    machine.check_addresses(1_500_000_000, "TensorFlow")
    with pytest.raises(UserError, match=r"TensorFlow needs 2 GB of addresses, .* leaves 1\.5 GB\. .*ulimit -v"):
        machine.check_addresses(2_000_000_000, "TensorFlow")
