"""Writes the tables of flags in docs/ from the settings of the programs: run it after changing one.

.venv/bin/python scripts/flag_tables.py
"""

from pathlib import Path

from converter.diff import DiffOptions
from converter.inspect.selection import InspectOptions
from converter.look.program import LookOptions
from converter.options import ConvertOptions
from converter.report.page import ReportOptions
from converter.verify.dataset_checks import VerifyOptions
from multihot import tables
from trainer.config import TrainConfig
from trainer.data_service import DataServiceOptions
from trainer.embed import EmbedOptions
from trainer.evaluate import EvaluateOptions
from trainer.export import ExportOptions
from trainer.predict import PredictOptions
from trainer.runs import RunsOptions
from trainer.suspects.program import SuspectsOptions

_DOCS = Path(__file__).parents[1] / "docs"
_PAGES: dict[str, tuple[type, ...]] = {
    "converting.md": (ConvertOptions, LookOptions, ReportOptions, VerifyOptions, DiffOptions),
    "evaluating.md": (EvaluateOptions,),
    "inspecting.md": (InspectOptions,),
    "suspects.md": (SuspectsOptions,),
    "training.md": (TrainConfig, RunsOptions, DataServiceOptions),
    "serving.md": (ExportOptions,),
    "using.md": (PredictOptions, EmbedOptions),
}


# Dataclasses of which most settings stand in the table of another one.
_LIKE = {LookOptions: ConvertOptions}


def pages() -> dict[Path, str]:
    """Returns the text that each page should have, by its path."""
    return {
        _DOCS / name: tables.renew(
            (_DOCS / name).read_text(encoding="utf-8"),
            {config.__name__: tables.table(config, _LIKE.get(config)) for config in configs},
        )
        for name, configs in _PAGES.items()
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
