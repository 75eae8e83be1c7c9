"""Each known layout reads a small table of the shape of its public files: names, labels, unknown labels, splits."""

import gzip
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import tensorflow as tf

from converter import known_layouts
from converter.job import pipeline
from converter.options import ConvertOptions
from multihot import flags
from multihot.errors import UserError
from multihot.usage import Usage

Draw = Callable[..., bytes]

_PAGE = Path(__file__).parents[2] / "docs" / "layouts.md"


class _Case(NamedTuple):
    """A table of a known layout, and what becomes of it.

    Attributes:
        tables: contents of each file.
        images: names of files to draw.
        labels: classes of each image, by the last part of its name.
        given: flags beside those of the layout.
        unknown: classes of each image that are not known, where there are any.
        splits: names of each split, where the table says them.
    """

    tables: Mapping[str, str | bytes]
    images: tuple[str, ...]
    labels: Mapping[str, set[str]]
    given: tuple[str, ...] = ()
    unknown: Mapping[str, set[str]] = {}
    splits: Mapping[str, set[str]] = {}


_ROBOFLOW = {
    "train": ("a_jpg.rf.0c5c2b2a8bd8f7a16a0c4c4a9ae0a5f1.jpg", "b_jpg.rf.5e0f2a9e9ac2b8d1c4f8aab2e1f0d3c2.jpg"),
    "valid": ("c_jpg.rf.9b1f0c3d5e7a8b2c4d6e8f0a1b3c5d7e.jpg",),
    "test": ("d_jpg.rf.1a2b3c4d5e6f708192a3b4c5d6e7f809.jpg",),
}
_ROBOFLOW_IMAGES = tuple(f"{folder}/{name}" for folder, names in _ROBOFLOW.items() for name in names)
_ROBOFLOW_SPLITS = {
    "train": set(_ROBOFLOW["train"]),
    "validation": set(_ROBOFLOW["valid"]),
    "test": set(_ROBOFLOW["test"]),
}


def _roboflow_csv(name: str) -> str:
    return f"--csv=train=train/{name},validation=valid/{name},test=test/{name}"


def _boxes(folder: str, *classes: str) -> str:
    rows = [f"{name},640,640,{one},12,20,301,410\n" for name in _ROBOFLOW[folder] for one in classes]
    return "filename,width,height,class,xmin,ymin,xmax,ymax\n" + "".join(rows)


_CASES = {
    "celeba": _Case(
        {
            "list_attr_celeba.txt": "4\n5_o_Clock_Shadow Bald Male Young \n000001.jpg -1 -1  1 -1\n"
            "000002.jpg  1  1  1 -1\n000003.jpg -1 -1 -1  1\n000004.jpg -1  1 -1 -1\n"
        },
        ("000001.jpg", "000002.jpg", "000003.jpg", "000004.jpg"),
        {
            "000001.jpg": {"Male"},
            "000002.jpg": {"5_o_Clock_Shadow", "Bald", "Male"},
            "000003.jpg": {"Young"},
            "000004.jpg": {"Bald"},
        },
    ),
    "celeba_csv": _Case(
        {"list_attr_celeba.csv": "image_id,Bald,Male\n000001.jpg,-1,1\n000002.jpg,1,-1\n000003.jpg,-1,-1\n"},
        ("000001.jpg", "000002.jpg", "000003.jpg"),
        {"000001.jpg": {"Male"}, "000002.jpg": {"Bald"}, "000003.jpg": set()},
    ),
    "chexpert": _Case(
        {
            "train.csv": "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Cardiomegaly,Pleural Effusion\n"
            "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,\n"
            "CheXpert-v1.0-small/train/patient00001/study2/view2_lateral.jpg,Female,68,Lateral,,,-1.0,0.0\n"
            "CheXpert-v1.0-small/train/patient00002/study1/view3_frontal.jpg,Male,41,Frontal,PA,,1.0,-1.0\n"
        },
        (
            "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg",
            "CheXpert-v1.0-small/train/patient00001/study2/view2_lateral.jpg",
            "CheXpert-v1.0-small/train/patient00002/study1/view3_frontal.jpg",
        ),
        {"view1_frontal.jpg": {"No Finding"}, "view2_lateral.jpg": set(), "view3_frontal.jpg": {"Cardiomegaly"}},
        unknown={"view2_lateral.jpg": {"Cardiomegaly"}, "view3_frontal.jpg": {"Pleural Effusion"}},
    ),
    "nih": _Case(
        {
            "Data_Entry_2017.csv": "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
            "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
            "00000001_000.png,Cardiomegaly,0,1,58,M,PA,2682,2749,0.143,0.143,\n"
            "00000001_001.png,Cardiomegaly|Emphysema,1,1,58,M,PA,2894,2729,0.143,0.143,\n"
            "00000002_000.png,No Finding,0,2,81,M,PA,2500,2048,0.171,0.171,\n"
        },
        (
            "images_001/images/00000001_000.png",
            "images_001/images/00000001_001.png",
            "images_002/images/00000002_000.png",
        ),
        {
            "00000001_000.png": {"Cardiomegaly"},
            "00000001_001.png": {"Cardiomegaly", "Emphysema"},
            "00000002_000.png": {"No Finding"},
        },
    ),
    "planet": _Case(
        {"train_v2.csv": "image_name,tags\ntrain_0,haze primary\ntrain_1,agriculture clear primary water\n"},
        ("train_0.jpg", "train_1.jpg"),
        {"train_0.jpg": {"haze", "primary"}, "train_1.jpg": {"agriculture", "clear", "primary", "water"}},
    ),
    "open_images": _Case(
        {
            "labels.csv": "ImageID,Source,LabelName,Confidence\n0001eeaf4aed83f9,verification,/m/0cmf2,1\n"
            "000595fe6fee6369,verification,/m/02wbm,1\n000595fe6fee6369,verification,/m/02xwb,1\n"
            "000595fe6fee6369,crowdsource-verification,/m/0cmf2,0\n"
        },
        ("0001eeaf4aed83f9.jpg", "000595fe6fee6369.jpg"),
        {"0001eeaf4aed83f9.jpg": {"/m/0cmf2"}, "000595fe6fee6369.jpg": {"/m/02wbm", "/m/02xwb"}},
    ),
    "voc": _Case(
        {"voc.txt": "filename aeroplane bicycle\n2008_000002 -1  1\n2008_000003  0 -1\n2008_000007  1 -1\n"},
        ("2008_000002.jpg", "2008_000003.jpg", "2008_000007.jpg"),
        {"2008_000002.jpg": {"bicycle"}, "2008_000003.jpg": set(), "2008_000007.jpg": {"aeroplane"}},
        unknown={"2008_000003.jpg": {"aeroplane"}},
    ),
    "roboflow": _Case(
        {
            f"{folder}/_classes.csv": "filename, cat, red car\n" + "".join(f"{name}, 1, 0\n" for name in names)
            for folder, names in _ROBOFLOW.items()
        },
        _ROBOFLOW_IMAGES,
        {name: {"cat"} for names in _ROBOFLOW.values() for name in names},
        given=(_roboflow_csv("_classes.csv"),),
        splits=_ROBOFLOW_SPLITS,
    ),
    "roboflow_boxes": _Case(
        {
            "train/_annotations.csv": _boxes("train", "cat", "red car", "cat"),
            "valid/_annotations.csv": _boxes("valid", "cat"),
            "test/_annotations.csv": _boxes("test", "red car"),
        },
        _ROBOFLOW_IMAGES,
        {
            **{name: {"cat", "red car"} for name in _ROBOFLOW["train"]},
            **{name: {"cat"} for name in _ROBOFLOW["valid"]},
            **{name: {"red car"} for name in _ROBOFLOW["test"]},
        },
        given=(_roboflow_csv("_annotations.csv"),),
        splits=_ROBOFLOW_SPLITS,
    ),
    "label_studio": _Case(
        {
            "project-1.csv": "annotation_id,annotator,choice,created_at,id,image,lead_time,updated_at\n"
            '1,1,"{""choices"": [""Cat"", ""Red car""]}",2024-01-01,1,/data/upload/1/2b3a4c5d-a.jpg,3,2024\n'
            "2,1,Dog,2024-01-01,2,/data/upload/1/3c4d5e6f-b.jpg,2.2,2024\n"
            "3,2,Cat,2024-01-01,2,/data/upload/1/3c4d5e6f-b.jpg,2.2,2024\n"
        },
        ("2b3a4c5d-a.jpg", "3c4d5e6f-b.jpg"),
        {"2b3a4c5d-a.jpg": {"Cat", "Red car"}, "3c4d5e6f-b.jpg": {"Cat", "Dog"}},
    ),
    "via": _Case(
        {
            "via.csv": "#filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,"
            'region_attributes\na.jpg,7042,"{}",2,0,"{""name"":""rect"",""x"":1,""y"":2,""width"":3,""height"":4}",'
            '"{""class"":""cat""}"\na.jpg,7042,"{}",2,1,"{""name"":""circle"",""cx"":1,""cy"":2,""r"":3}",'
            '"{""class"":""dog""}"\nb.jpg,6042,"{}",0,0,"{}","{}"\n'
        },
        ("a.jpg", "b.jpg"),
        {"a.jpg": {"cat", "dog"}, "b.jpg": set()},
    ),
    "fastai": _Case(
        {
            "train.csv": "fname,labels,is_valid\n000005.jpg,chair,True\n000007.jpg,car,True\n"
            "000012.jpg,car person,False\n"
        },
        ("000005.jpg", "000007.jpg", "000012.jpg"),
        {"000005.jpg": {"chair"}, "000007.jpg": {"car"}, "000012.jpg": {"car", "person"}},
        splits={"train": {"000012.jpg"}, "validation": {"000005.jpg", "000007.jpg"}},
    ),
    "miml": _Case(
        {"miml_labels_1.csv": "Filenames,desert,mountains,sea\n1.jpg,1,0,0\n4.jpg,1,1,0\n5.jpg,0,0,0\n"},
        ("1.jpg", "4.jpg", "5.jpg"),
        {"1.jpg": {"desert"}, "4.jpg": {"desert", "mountains"}, "5.jpg": set()},
    ),
    "plant_pathology": _Case(
        {
            "train.csv": "image,labels\n800113bb65efe69e.jpg,healthy\n"
            "8002cb321f8bfcdf.jpg,scab frog_eye_leaf_spot complex\n"
        },
        ("800113bb65efe69e.jpg", "8002cb321f8bfcdf.jpg"),
        {"800113bb65efe69e.jpg": {"healthy"}, "8002cb321f8bfcdf.jpg": {"scab", "frog_eye_leaf_spot", "complex"}},
    ),
    "isic": _Case(
        {"truth.csv": "image,MEL,NV,UNK\nISIC_0000000,0.0,1.0,0.0\nISIC_0000002_downsampled,1.0,0.0,0.0\n"},
        ("ISIC_0000000.jpg", "ISIC_0000002_downsampled.jpg"),
        {"ISIC_0000000.jpg": {"NV"}, "ISIC_0000002_downsampled.jpg": {"MEL"}},
    ),
    "ham10000": _Case(
        {
            "HAM10000_metadata.csv": "lesion_id,image_id,dx,dx_type,age,sex,localization\n"
            "HAM_0000118,ISIC_0027419,bkl,histo,80.0,male,scalp\nHAM_0000118,ISIC_0025030,bkl,histo,80.0,male,scalp\n"
            "HAM_0002730,ISIC_0026769,nv,histo,,female,scalp\n"
        },
        (
            "HAM10000_images_part_1/ISIC_0027419.jpg",
            "HAM10000_images_part_2/ISIC_0025030.jpg",
            "HAM10000_images_part_1/ISIC_0026769.jpg",
        ),
        {"ISIC_0027419.jpg": {"bkl"}, "ISIC_0025030.jpg": {"bkl"}, "ISIC_0026769.jpg": {"nv"}},
    ),
    "padchest": _Case(
        {
            "PADCHEST.csv.gz": gzip.compress(
                b",ImageID,ImageDir,StudyDate_DICOM,PatientID,Projection,Labels\n"
                b"0,1_a.png,0,20140915,10,PA,\"['pulmonary fibrosis', 'kyphosis', ' loc basal']\"\n"
                b"1,1_b.png,0,20140916,10,L,\"['kyphosis']\"\n2,2_c.png,1,20150101,11,PA,[]\n"
            )
        },
        ("0/1_a.png", "0/1_b.png", "1/2_c.png"),
        {"1_a.png": {"pulmonary fibrosis", "kyphosis", "loc basal"}, "1_b.png": {"kyphosis"}, "2_c.png": set()},
    ),
}


def _lines(layout: str) -> list[str]:
    """Returns the flags of a layout, as absl reads them from the file."""
    text = Path(known_layouts.path(layout)).read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _options(*arguments: str) -> ConvertOptions:
    options: ConvertOptions = flags.parse(Usage("converter", "", "", (ConvertOptions,)), ["converter", *arguments])
    return options


class _Converted(NamedTuple):
    """The contents of a dataset, by the last part of the name of each image."""

    labels: Mapping[str, set[str]]
    unknown: Mapping[str, set[str]]
    splits: Mapping[str, set[str]]


def _convert(options: ConvertOptions) -> _Converted:
    info = pipeline.convert(options)
    assert info is not None
    found = _Converted({}, {}, defaultdict(set))
    for split in info.splits:
        for record in tf.data.TFRecordDataset([f"{options.dataset}/{shard.path}" for shard in split.shards]):
            features = tf.train.Example.FromString(record.numpy()).features.feature
            name = features["filename"].bytes_list.value[0].decode().rpartition("/")[2]
            values = features["labels"].int64_list.value
            known = features["labels/known"].int64_list.value if "labels/known" in features else [1] * len(values)
            found.labels[name] = {one for one, value in zip(info.classes, values, strict=True) if value}
            found.unknown[name] = {one for one, value in zip(info.classes, known, strict=True) if not value}
            found.splits[split.name].add(name)
    return found


@pytest.mark.parametrize("layout", _CASES)
def test_a_table_of_a_known_layout_is_read_with_the_flags_of_the_layout(
    layout: str, tmp_path: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = _CASES[layout]
    monkeypatch.chdir(tmp_path)
    for name, content in case.tables.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    for i, name in enumerate(case.images):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw(i, file_format="PNG" if name.endswith("png") else "JPEG"))
    found = _convert(
        _options(*_lines(layout), f"--csv={next(iter(case.tables))}", "--images=.", "--output=out", *case.given)
    )
    assert found.labels == case.labels
    assert {name: names for name, names in found.unknown.items() if names} == case.unknown
    if case.splits:
        assert found.splits == case.splits


def test_every_layout_has_a_test_a_place_in_the_docs_and_a_command() -> None:
    page = _PAGE.read_text(encoding="utf-8")
    assert set(known_layouts.names()) == set(_CASES)
    assert len(_CASES) >= 12
    for name in known_layouts.names():
        text = Path(known_layouts.path(name)).read_text(encoding="utf-8")
        (command,) = re.findall(rf"^#   (python -m converter --layout={name} (?:\\\n#|.)+)", text, re.MULTILINE)
        assert command.replace("\n# ", "\n") in page, f"{_PAGE} has another command than {name}.flags"


def test_the_commands_of_the_docs_join_the_files_of_voc(tmp_path: Path) -> None:
    (commands,) = re.findall(r"```\n(\(echo filename .*?)```", _PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for name, cells in (("aeroplane", (-1, 0, 1)), ("bicycle", (1, -1, -1))):
        rows = (f"2008_00000{i} {cell:2}\n" for i, cell in enumerate(cells))
        (tmp_path / f"{name}_trainval.txt").write_text("".join(rows), encoding="utf-8")
    (tmp_path / "trainval.txt").write_text("2008_000000\n2008_000001\n2008_000002\n", encoding="utf-8")
    subprocess.run(["bash", "-c", commands], cwd=tmp_path, check=True)
    assert (tmp_path / "voc.txt").read_text(encoding="utf-8").splitlines() == [
        "filename aeroplane bicycle",
        "2008_000000 -1 1",
        "2008_000001 0 -1",
        "2008_000002 1 -1",
    ]


def test_a_layout_that_is_unknown_is_told_the_closest() -> None:
    with pytest.raises(
        UserError, match=r"^--layout: there is no layout 'celba'\. Did you mean celeba or celeba_csv\?$"
    ):
        known_layouts.path("celba")
    with pytest.raises(UserError, match=r"^--layout: there is no layout '\.\./x'\. There are: celeba, "):
        known_layouts.path("../x")


def _run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "converter", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize("by", ["--layout=planet", "--flagfile={}"])
def test_flags_of_the_command_line_win_over_those_of_the_layout(by: str, tmp_path: Path, draw: Draw) -> None:
    (tmp_path / "1.jpg").write_bytes(draw())
    (tmp_path / "labels.csv").write_text("image_name,names\n1.jpg,sea|sky\n", encoding="utf-8")
    by = by.format(known_layouts.path("planet"))
    given = ("--label_columns=names", "--label_delimiter=|")
    # A file of flags counts where it stands, and a layout counts as if it came first.
    order = (*given, by) if by.startswith("--layout") else (by, *given)
    process = _run(f"--csv={tmp_path}/labels.csv", f"--images={tmp_path}", f"--output={tmp_path}/out", *order)
    assert (process.returncode, process.stderr) == (0, "")
    assert '"sea"' in (tmp_path / "out/dataset/1.0.0/manifest.json").read_text(encoding="utf-8")


def test_a_mistyped_layout_ends_with_a_sentence() -> None:
    process = _run("--layout=celba")
    assert (process.returncode, process.stdout) == (1, "")
    sentence, usage, *_ = process.stderr.splitlines()
    assert sentence == "error: --layout: there is no layout 'celba'. Did you mean celeba or celeba_csv?"
    assert usage.startswith("usage: python -m converter ")
