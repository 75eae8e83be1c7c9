"""A dataset comes into its place as a whole, and takes that of another one as a whole."""

from pathlib import Path

import pytest

from converter.job import publishing


def _put(folder: Path, content: str, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def _tree(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def _publish(folder: Path) -> None:
    publishing.publish(f"{folder}/new", f"{folder}/done", commit_marker="manifest.json", backup=f"{folder}/aside")


@pytest.fixture(params=[True, False], ids=["exchange", "two renames"])
def exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets folders change places, or not, as on file systems and machines that cannot."""
    if not request.param:
        monkeypatch.setattr(publishing, "_exchange", lambda one, other: False)


def test_a_folder_gets_its_place(tmp_path: Path) -> None:
    _put(tmp_path, "new", "new/manifest.json", "new/train/a")
    _publish(tmp_path)
    assert _tree(tmp_path) == {"done/manifest.json": "new", "done/train/a": "new"}


@pytest.mark.usefixtures("exchange")
def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    _put(tmp_path, "old", "done/manifest.json", "done/train/old", "aside/from an earlier failure")
    _put(tmp_path, "new", "new/manifest.json", "new/train/a")
    _publish(tmp_path)
    assert _tree(tmp_path) == {"done/manifest.json": "new", "done/train/a": "new"}
    assert {path.name for path in tmp_path.iterdir()} == {"done"}


def test_two_folders_change_places_or_stay_where_they_are(tmp_path: Path) -> None:
    _put(tmp_path, "one", "one/a")
    _put(tmp_path, "other", "other/b")
    changed = publishing._exchange(f"{tmp_path}/one", f"{tmp_path}/other")
    assert _tree(tmp_path) == (
        {"one/b": "other", "other/a": "one"} if changed else {"one/a": "one", "other/b": "other"}
    )
    assert not publishing._exchange(f"{tmp_path}/one", f"{tmp_path}/missing")
    assert (tmp_path / "one").exists()


def test_what_a_killed_publish_set_aside_is_put_back(tmp_path: Path) -> None:
    target, aside = tmp_path / "1.0.0", tmp_path / "1.0.0.replaced"
    aside.mkdir()
    (aside / "manifest.json").write_text("the old one")
    publishing.restore(str(target), commit_marker="manifest.json", backup=str(aside))
    assert (target / "manifest.json").read_text() == "the old one"
    assert not aside.exists()
    # With something in its place, what was set aside is the older one of the two, and not needed.
    aside.mkdir()
    publishing.restore(str(target), commit_marker="manifest.json", backup=str(aside))
    assert (target / "manifest.json").read_text() == "the old one"
    assert not aside.exists()
