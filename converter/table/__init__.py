"""This wing reads a CSV or a Parquet file, and turns each of its rows into a Row or a Reject.

rows.py    each line of it becomes a Row or a Reject
header.py  its header: which column is what, and which classes there are
cells.py   the cells of a CSV, record by record, with the line of each
parquet.py a Parquet file as the cells of a CSV
row.py     Row: a row that passed every test that needs no file
"""
