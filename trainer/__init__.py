"""The trainer turns a dataset on disk into a trained and evaluated model, by tf.data and Keras, as often as you like.

A folder is a wing of the trainer: one idea. A wing imports only from what stands below it here.

main.py        defines the command line of the trainer: flags become TrainConfig, and a training starts
train.py       runs a training: the order of its steps, and nothing else
runs.py        compares runs side by side: `python -m trainer.runs`
evaluate.py    evaluates the model of a run on any dataset: `python -m trainer.evaluate`
embed.py       writes the features of all images with their names: `python -m trainer.embed`
predict.py     predicts on files, folders and stores: `python -m trainer.predict`
data_service.py loads the images of trainings on other machines: `python -m trainer.data_service`
prediction_job/ predicts on files by an Apache Beam job, on this machine or others
evaluation/    computes the figures of such an evaluation, and builds its page
export.py      exports the model of a run: `python -m trainer.export`
suspects/      finds labels that may be wrong, and builds the page for their review: `python -m trainer.suspects`
embedding/     computes features of all images of datasets, and finds images that are alike by them
exporting/     writes a model in the forms that other runtimes take
prediction/    predicts on images that are in no dataset: the rows of a folder, and `trainer.load_model`
finished_run.py opens a finished run, for the programs that use its model
loading.py     gives the pipeline to a loop of the user's own: `trainer.load`
training/      trains a model: phases, epochs and steps, checkpoints, and the place from which a run goes on
thresholds.py  chooses for each class the score from which on it counts as predicted
out_of_fold.py scores images by heads on features that were trained without these images
features.py    computes the features of images by a model
nearest.py     finds the images that are most like some images, by their features
report/        describes a run for its readers: config.json, the model card, pictures, TensorBoard
models/        builds the model of a run: backbones, their trained weights, heads, and the layers that are trained
inference.py   runs a model over batches, and returns the scores of all examples
losses.py      defines the losses, in which unknown labels have no part
metrics.py     computes the metrics of multi-label classification from labels and scores
input/         turns shards into batches, in the graph only: reading, decoding, augmentation, caches
system/        describes the machine of a run, and sets how Keras computes on it, and on which devices
checks.py      checks by the manifests whether a run makes sense, before anything is read
sources.py     reads the manifests of the datasets of a run, and combines several datasets into one
phases.py      divides a run into phases: first the head, then the upper layers; images that grow
config.py      defines TrainConfig: every setting of a run, with its checks
recipes.py     holds the values that settings have by default, by the model and its weights
earlier_run.py reads the settings of an earlier run, from whose weights a run starts
model_file.py  notes inside model.keras all that a program needs to use the model
run_folder.py  claims the folder of a run for one run at a time, names its files, and writes them whole or not at all
experiments/   holds named recipes, for --flagfile
"""

import contextlib
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from multihot import signals

if TYPE_CHECKING:
    from trainer.loading import load
    from trainer.prediction.loaded import load_model

__all__ = ["load", "load_model"]

# The modules of the functions that are for the code of others.
_MODULES = {"load": "trainer.loading", "load_model": "trainer.prediction.loaded"}

# Keras reads it once, when it is imported; the models are Keras on TensorFlow, whatever else it is set up for.
os.environ["KERAS_BACKEND"] = "tensorflow"

# sys.argv is ["-m"] while Python looks for the module of `python -m trainer...`: a program of this package starts.
if sys.argv[:1] == ["-m"]:
    signals.end_at_once()

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Imports a function when it is first used: TensorFlow takes seconds."""
        if name in __all__:
            # PyTorch imports Triton with its first optimizer, if it is there. After TensorFlow 2.20 or 2.21, that ends
            # the process: both have an LLVM, and TensorFlow lets others use its own.
            if "torch" in sys.modules and "tensorflow" not in sys.modules:
                with contextlib.suppress(ImportError):
                    importlib.import_module("triton")
            return getattr(importlib.import_module(_MODULES[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
