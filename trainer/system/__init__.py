"""This wing describes the machine of a run, and sets how Keras computes on it.

A module imports only from the modules that stand below it here.

environment.py  describes the machine of a run, its versions and the revisions of code
memory.py       turns a lack of memory into a message that names the flags
numerics.py     sets how Keras computes, whatever its own file of settings and its variables say
devices.py      says whether a run uses CPU or GPU, and why a GPU is not used; chooses the type it computes in
strategies.py   lets a run train on several devices and machines, by tf.distribute
"""
