"""This wing says how a table and a folder of images would be read, before a conversion: `python -m converter.look`.

program.py     reads a table and lists a folder, and prints the command that converts: `python -m converter.look CSV`
findings.py    finds out what a conversion would make of a table and a folder, without opening an image
description.py describes the findings in the text that is printed
"""
