"""Writes the tables of flags in docs/ from the fields of ConvertOptions and TrainConfig: run it after changing one.

.venv/bin/python scripts/flag_tables.py
"""

from pathlib import Path

from converter.options import ConvertOptions
from multihot import tables
from trainer.config import TrainConfig

_DOCS = Path(__file__).parents[1] / "docs"
_PAGES = {"converting.md": ConvertOptions, "training.md": TrainConfig}


def pages() -> dict[Path, str]:
    """Returns the text that each page should have, by its path."""
    return {
        _DOCS / name: tables.renew((_DOCS / name).read_text(encoding="utf-8"), {config.__name__: tables.table(config)})
        for name, config in _PAGES.items()
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
