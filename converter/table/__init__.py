"""This wing reads a CSV or a Parquet file, and turns each of its rows into a Row or a Reject.

rows.py        turns each row of the table into a Row, or into a Reject that says why not
tables.py      reads the files of the table: the columns of each, the kinds of the label columns, and the classes
header.py      reads the header of a file of the table: which column holds what
misfits.py     finds whole columns that do not fit, before any image is read
kinds.py       decides of which kind a label column is, from the different cells in it
delimiters.py  finds the delimiter between the names of classes in a cell
vocabulary.py  defines words and patterns that tell what a cell is, where it is neither 0 and 1 nor a name
labels.py      decides what the cells of label columns mean: the only module that does
filenames.py   turns the name in a row into the name of a file
places.py      decides the group and the split of each row
suggestions.py finds out how the names in a table differ from those of the files, and which flag helps
estimate.py    estimates the number of rows of a file, by which the work on it is divided
records.py     reads the cells of a CSV or Parquet file as text, record by record, with the line of each
dialect.py     finds how the lines of a CSV are written: the delimiter, lines above the header, a header without a name
encodings.py   finds the encodings in which lines that cannot be decoded read as words, for messages
compressed.py  opens the contents of a compressed table: gzip, bzip2, xz, zstd, or a ZIP archive with one CSV
parquet.py     reads a Parquet file as the cells of a CSV: every value as the text that a person would have typed
row.py         defines Row: a row that passed every test that needs no image file
"""
