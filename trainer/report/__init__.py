"""This wing describes a run for its readers: config.json, the model card, pictures, TensorBoard.

A module imports only from the modules that stand below it here.

model_card.py     writes MODEL_CARD.md: what a model is, what it was trained and evaluated on, and its limits
card_training.py  writes its section about the training: commands, phases, settings
card_limits.py    writes its section about the limits of the model and of its evaluation
description.py    describes a run in its config.json
tensorboard.py    writes what TensorBoard shows of a run: curves, pictures, and its settings with the final metrics
plots.py          draws training.png and samples.png
"""
