"""Runs `python -m converter.report`."""

from converter.report import page

if __name__ == "__main__":
    page.run()
