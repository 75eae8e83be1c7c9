"""Runs `python -m converter.verify`."""

from converter.verify import dataset_checks

if __name__ == "__main__":
    dataset_checks.run()
