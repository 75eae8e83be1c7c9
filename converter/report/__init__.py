"""This wing builds the page that shows what a dataset contains: `python -m converter.report`.

page.py     builds the page that shows what a dataset contains: `python -m converter.report DIR`
charts.py   draws the charts of the report as SVG that takes the colours and fonts of the page
pictures.py samples the examples for the report, finds examples by name, and makes small pictures of them
sheets.py   chooses the images on the contact sheets: of classes, of rare combinations of labels, of duplicates
"""
