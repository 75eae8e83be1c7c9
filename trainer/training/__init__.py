"""This wing trains a model: phases, epochs and steps, checkpoints, and the place from which a run goes on.

A module imports only from the modules that stand below it here.

leftovers.py    lists the files that an unfinished run leaves, and says how to go on
loop.py         trains the epochs of a phase, step by step, and saves its place
callbacks.py    lists the callbacks of a training, and ends a run whose loss is NaN or infinite
validation.py   evaluates the validation split after each epoch, and says when a run whose loss gets no better ends
checkpoints.py  saves a training in one file, from which the same command goes on, and the best model so far
phase_setup.py  prepares a phase: the model that is trained, the cache, and the batches
throughput.py   measures the speed of the input and of the model, and says which of them is slower
compilation.py  compiles a model: loss, optimizer, learning-rate schedule
sharpness.py    trains with sharpness-aware minimization
averaging.py    averages the weights of a model over the steps of its training
muon.py         defines the optimizer Muon
resuming.py     says whether an unfinished run may be gone on with: the same settings, the same datasets
history.py      keeps the figures of each epoch, and writes history.json
"""
