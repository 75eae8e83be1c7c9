"""A dataset on disk -> a trained and evaluated model, many times.

main.py         flags -> TrainConfig -> train.train_and_evaluate()
config.py       TrainConfig: frozen, documented, validates itself; saved beside the checkpoints
sources.py      which datasets a run reads, as if they were one
dataset.py      shards -> interleave, parse, decode, cache, shuffle, batch, augment, prefetch
augment.py      random operations on a batch of images, with explicit seeds
model.py        backbones, preprocessing, head
train.py        compile, fit, callbacks; the order of a run
evaluation.py   one exact pass over a split: the multi-label metrics
plots.py        training.png and samples.png
runs.py         `python -m trainer.runs`: compares runs side by side
experiments/    named recipes, for --flagfile
"""
