"""The parts of the programs that are not about datasets: their settings, and the flags that follow from these.

settings.py  declares a setting as a field of a dataclass, with its help, choices and unit
flags.py     makes the flags of a program from such a dataclass, and reads them back
tables.py    writes the tables of flags in the docs from it
"""
