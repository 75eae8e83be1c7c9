"""`python -m converter`."""

from converter.main import run

if __name__ == "__main__":
    run()
