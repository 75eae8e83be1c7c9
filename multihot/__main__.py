"""Runs a program by its name: the command `multihot`, and `python -m multihot`."""

import difflib
import importlib
import sys
from typing import NamedTuple


class _Program(NamedTuple):
    """A program: the module that has its `run()`, and what it does."""

    module: str
    help: str


# Named by text and imported when one is run: some of them take seconds to import.
_PROGRAMS = {
    "convert": _Program("converter.__main__", "turn a CSV and a folder of images into a dataset"),
    "look": _Program("converter.look.program", "say how a table and a folder would be read, before a conversion"),
    "train": _Program("trainer.__main__", "train a model on datasets, and evaluate it"),
    "predict": _Program("trainer.predict", "predict the labels of images with a trained model"),
    "export": _Program("trainer.export", "export a trained model: SavedModel, ONNX, LiteRT, Keras"),
    "embed": _Program("trainer.embed", "write features of images with their names, and find images that are alike"),
    "data-service": _Program("trainer.data_service", "load the images of trainings on other machines"),
    "verify": _Program("converter.verify.dataset_checks", "read a dataset again, and report every fault in it"),
    "inspect": _Program("converter.inspect.selection", "show the summary of a dataset, or some of its examples"),
    "diff": _Program("converter.diff", "compare two datasets"),
    "report": _Program("converter.report.page", "write the page that shows what is in a dataset"),
    "evaluate": _Program("trainer.evaluate", "say how good the model of a training is, and where it fails"),
    "suspects": _Program("trainer.suspects.program", "find labels that may be wrong, and make a page for their review"),
    "runs": _Program("trainer.runs", "compare trainings side by side"),
}


def _usage() -> str:
    programs = [f"  {name:12} {program.help}" for name, program in _PROGRAMS.items()]
    return "\n".join(
        [
            "usage: multihot PROGRAM [arguments]",
            *programs,
            "example: multihot convert --csv=labels.csv --images=images --output=data --name=miml",
            "All flags of a program: multihot PROGRAM --help. The version: multihot --version",
        ]
    )


def run() -> None:
    """Entry point."""
    # Not at the top: the processes that write shards import the main module of the program, and need none of this.
    import multihot
    from multihot import signals

    signals.end_at_once()
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    if word in ("-h", "--help", "help"):
        print(_usage())
    elif word == "--version":
        print(f"multihot {multihot.__version__}")
    elif word in _PROGRAMS:
        # Programs call themselves by this name in their usage.
        sys.argv = [f"multihot {word}", *sys.argv[2:]]
        importlib.import_module(_PROGRAMS[word].module).run()
    else:
        sys.exit(f"{_unknown(word)}\n{_usage()}" if word else _usage())


def _unknown(word: str) -> str:
    closest = difflib.get_close_matches(word, _PROGRAMS, n=1)
    return f"error: There is no program {word!r}." + (f" Did you mean {closest[0]!r}?" if closest else "")


if __name__ == "__main__":
    run()
