"""A dataset on disk -> a trained and evaluated model, many times.

main.py         flags -> TrainConfig -> train.train_and_evaluate()
config.py       TrainConfig: frozen, documented, validates itself; saved beside the checkpoints
numerics.py     how Keras computes, whatever its own file of settings says
sources.py      which datasets a run reads, as if they were one
checks.py       what their manifests tell of a run before it starts
pipeline.py     shards, or what is cached of them -> shuffle, batch, decode, augment, prefetch
buffers.py      how many examples a pipeline holds at a time, and how many bytes that is
decoding.py     serialized examples -> images of one size, and labels
resizing.py     one image -> a square of a given size
cropping.py     random crops and flips, with explicit seeds
colour.py       random colours and mixup, with explicit seeds
caching.py      what is kept between epochs, and where: chosen and filled
diskcache.py    what is kept on disk, for this run and later ones
model.py        backbones, preprocessing, head
train.py        compile, fit, callbacks; the order of a run
run_folder.py   the folder of a run: claimed by one run at a time, files whole or not there
checkpoints.py  what a run saves after each epoch
leftovers.py    what a run has left that did not come to its end, and how one goes on
devices.py      CPU or GPU, and why a GPU that is there is not used
memory.py       a lack of memory as a sentence that names the flags
throughput.py   how fast the input is, and the model, and which of them a run waits for
evaluation.py   one exact pass over a split: the multi-label metrics
validation.py   the same after every epoch: what is shown while training
plots.py        training.png and samples.png
runs.py         `python -m trainer.runs`: compares runs side by side
experiments/    named recipes, for --flagfile
"""

import os
import sys

from schemas import signals

# Keras reads it once, when it is imported; the models are Keras on TensorFlow, whatever else it is set up for.
os.environ["KERAS_BACKEND"] = "tensorflow"

# sys.argv is ["-m"] while Python looks for the module of `python -m trainer...`: a program of this package starts.
if sys.argv[:1] == ["-m"]:
    signals.end_at_once()
