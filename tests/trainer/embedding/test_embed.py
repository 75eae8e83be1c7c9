"""All images of a dataset get features with their names, and the images most like one are found and drawn."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics.pairwise import cosine_distances

from converter.job import pipeline as conversion
from converter.options import ConvertOptions
from multihot import flags
from multihot.errors import UserError
from schemas import duplicates, embeddings
from schemas.embeddings import Columns
from trainer import embed, features, finished_run, train
from trainer.config import TrainConfig
from trainer.embedding import computing, neighbours, picture
from trainer.input import listing, pipeline
from trainer.sources import Sources


@pytest.fixture(scope="module")
def finished(recipe: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    train.train_and_evaluate(
        recipe("", output=str(folder), image_size=16, epochs=1, batch_size=16, train_sizes=((16, 1.0),))
    )
    return folder


@pytest.fixture(scope="module")
def written(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The features of all images of the dataset of the run, not to be changed."""
    path = tmp_path_factory.mktemp("features") / "embeddings.parquet"
    _embed(finished, path)
    return path


def _embed(run: Path, output: Path, *words: str) -> None:
    embed.main(flags.parse(embed.USAGE, ["embed", f"--run={run}", f"--output={output}", *words]))


def _rows(path: Path) -> Columns:
    (columns,) = embeddings.read(str(path))
    return columns


def test_every_image_of_every_split_has_a_row(written: Path, sources: Sources) -> None:
    rows = _rows(written)
    splits = [split.name for split in sources.each[0].info.splits]
    expected = [(split, name) for split in splits for name in listing.examples(sources, split).filenames]
    assert list(zip(rows.splits, rows.filenames, strict=True)) == expected
    assert len(set(rows.filenames)) == len(expected) == 48 + 21 + 10 + 14


def test_the_file_says_what_made_it(written: Path, finished: Path, sources: Sources) -> None:
    made_from = embeddings.describe(str(written)).made_from
    assert (made_from["run"], made_from["model"], made_from["image_size"]) == (str(finished), "small_resnet", 16)
    assert made_from["datasets"] == [
        {"name": "made", "version": "1.0.0", "fingerprint": sources.each[0].info.fingerprint}
    ]
    # Everything in few row groups: a batch of a group each would take longer to read.
    assert pq.ParquetFile(written).num_row_groups == 1


def test_features_are_the_means_over_all_positions(written: Path, finished: Path) -> None:
    run = finished_run.find(str(finished))
    config, data = run.config_for("validation"), run.sources()
    images = np.concatenate([some for some, _ in pipeline.evaluation_dataset(config, data, "validation")])
    extractor = features.of_head(run.load_model())

    def of(turned: NDArray[np.uint8]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = extractor.compute(tf.constant(turned)).numpy()
        return found

    turned = [np.rot90(images, quarters, (1, 2)) for quarters in range(4)]
    means = np.mean([of(np.ascontiguousarray(one)) for each in turned for one in (each, each[:, :, ::-1])], axis=0)
    rows = _rows(written)
    chosen = [i for i, split in enumerate(rows.splits) if split == "validation"]
    np.testing.assert_allclose(rows.features[chosen], means, rtol=1e-3, atol=1e-4)
    grey = (np.float32(images) @ np.float32([0.299, 0.587, 0.114])).repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(rows.thumbnails[chosen], grey, atol=1)


def test_the_positions_are_eight_and_those_of_a_turned_image_are_the_same() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 5, 5, 3), np.uint8)
    found = {bytes(one.numpy()) for one in computing.positions(tf.constant(image))}
    assert len(found) == 8
    for changed in (np.rot90(image, 1, (1, 2)), image[:, :, ::-1], image[:, ::-1]):
        turned = tf.constant(np.ascontiguousarray(changed))
        assert {bytes(one.numpy()) for one in computing.positions(turned)} == found


def test_small_images_have_thumbnails_too() -> None:
    image = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    small = computing.thumbnails(tf.constant(image))
    assert small.shape == (2, embeddings.SIDE, embeddings.SIDE)
    np.testing.assert_allclose(small[:, 2::4, 2::4], np.float32(image) @ np.float32([0.299, 0.587, 0.114]), atol=1)


def test_the_nearest_images_are_those_of_the_smallest_distance(written: Path) -> None:
    rows = _rows(written)
    names = ["train07.jpg", "rgb.png"]
    distances = cosine_distances(rows.features.astype(np.float64))
    for name, (itself, *others) in zip(names, neighbours.nearest(str(written), names, 5), strict=True):
        i = rows.filenames.index(name)
        assert itself == (name, rows.splits[i], 0.0)
        assert name not in [one.filename for one in others]
        own = np.delete(distances[i], i)
        np.testing.assert_allclose([one.distance for one in others], np.sort(own)[:5], atol=1e-5)
        for one in others:
            assert distances[i][rows.filenames.index(one.filename)] == pytest.approx(one.distance, abs=1e-5)
    assert len(neighbours.nearest(str(written), names, 1000)[0]) == len(rows.filenames)


def test_neighbours_are_drawn_without_computing_features_again(
    written: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(computing.Embedder, "embed")
    _embed(finished, written, "--neighbours_of=train07.jpg", "--neighbours_of=rgb.png", "--neighbours=3")
    out = capsys.readouterr().out
    assert f"The features are there already: {written}" in out
    assert "Most like train07.jpg (train)" in out and "Most like rgb.png (modes)" in out
    drawn = written.with_name("embeddings.neighbours.png")
    assert f"Picture: {drawn}" in out
    with Image.open(drawn) as image:
        assert image.width > image.height > 0
        assert len(image.convert("RGB").getcolors(1 << 24) or ()) > 500


def test_images_are_read_with_their_labels(sources: Sources, source: Path) -> None:
    found = picture.read(sources, {"train07.jpg": "train", "rgb.png": "modes", "no.jpg": "train", "train08.jpg": "no"})
    assert sorted(found) == ["rgb.png", "train07.jpg"]
    assert found["train07.jpg"].labels == ("green", "red", "yellow")  # 7 is 0111.
    with Image.open(source / "images" / "rgb.png") as image:
        np.testing.assert_array_equal(found["rgb.png"].pixels, np.asarray(image))


@pytest.mark.slow
def test_turned_copies_are_found_by_converting_again_with_the_features(
    written: Path, finished: Path, data: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(8):
        pixels = np.uint8(rng.integers(0, 256, (6, 5, 3)))
        image = Image.fromarray(pixels).resize((60, 50), Image.Resampling.BICUBIC)
        image.save(tmp_path / "images" / f"{i}.png")
        if i < 4:
            image.transpose(list(Image.Transpose)[i + 3]).save(tmp_path / "images" / f"{i} turned, é.png")
    names = sorted(path.name for path in (tmp_path / "images").iterdir())
    (tmp_path / "labels.csv").write_text("file,a\n" + "".join(f'"{name}",1\n' for name in names), encoding="utf-8")
    paths = {"csv": f"{tmp_path}/labels.csv", "images": f"{tmp_path}/images", "output": f"{tmp_path}/data"}
    first = ConvertOptions(**paths, num_threads=1)
    conversion.convert(first)
    # The dataset of the run beside one with other classes.
    output, both = tmp_path / "e.parquet", (f"--data={data}", f"--data={first.dataset}")
    output.write_bytes(written.read_bytes())
    with pytest.raises(UserError, match="has the features of another run or of other datasets"):
        _embed(finished, output, *both)
    _embed(finished, output, *both, "--overwrite")
    rows, before = _rows(output), _rows(written)
    assert rows.filenames[:-12] == before.filenames and sorted(rows.filenames[-12:]) == names
    np.testing.assert_allclose(rows.features[:-12], before.features, rtol=1e-3, atol=1e-4)
    second = dataclasses.replace(first, version="2.0.0", duplicates_by=str(output), group_near_duplicates=True)
    info = conversion.convert(second)
    assert info is not None and (info.featured, info.unused_features) == (12, len(before.filenames))
    listed = list(duplicates.read(second.dataset))
    assert [one.filename for one in listed] == [name for name in names if name[0] < "4"]
    assert {(one.group[0], one.filename[0]) for one in listed} == {(str(i), str(i)) for i in range(4)}
    assert len({(one.group, one.split) for one in listed}) == 4


def test_an_end_on_the_way_leaves_no_file(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = computing.Embedder.embed

    def broken(self: computing.Embedder, sources: Sources) -> object:
        yield next(whole(self, sources))
        raise KeyboardInterrupt

    monkeypatch.setattr(computing.Embedder, "embed", broken)
    with pytest.raises(KeyboardInterrupt) as caught:
        _embed(finished, tmp_path / "e.parquet")
    assert any("the same command begins again" in note for note in caught.value.__notes__)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"output": "features.csv"}, "--output must end with .parquet"),
        ({"neighbours": 0}, "--neighbours must be from 1 to 30"),
        ({"neighbours_of": ("a",) * 51}, "--neighbours_of takes 50 images at most"),
    ],
)
def test_settings_that_cannot_be_used_are_named(given: dict[str, object], expected: str) -> None:
    options = embed.EmbedOptions(run="run")
    with pytest.raises(UserError) as caught:
        dataclasses.replace(options, **given)
    assert expected in str(caught.value)


def test_a_name_without_a_row_is_named(written: Path, finished: Path) -> None:
    with pytest.raises(UserError, match=r"has no row of none\.jpg"):
        _embed(finished, written, "--neighbours_of=none.jpg")
