"""The parts of the programs that are not about datasets: settings, flags, and the command `multihot` that runs them.

settings.py  declares a setting as a field of a dataclass, with its help, choices and unit
flags.py     makes the flags of a program from such a dataclass, and reads them back
tables.py    writes the tables of flags in the docs from it
usage.py     says how a program is called, when its command line cannot be understood
"""
