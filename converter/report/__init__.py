"""This wing builds the page that shows what a dataset contains: `python -m converter.report`.

page.py     `python -m converter.report`: the page that shows what is in a dataset
charts.py   the charts of the report, as SVG
pictures.py a sample of the examples of a dataset, and small pictures of them
sheets.py   the contact sheets of the report: which images stand on them
"""
