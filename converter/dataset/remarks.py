"""Says what is remarkable in the names of classes: mistakes in a table that nobody would see in a finished dataset."""

import re
from collections import defaultdict
from collections.abc import Sequence

from converter.text import flag, some

# Names of columns with 0 and 1 that are hardly ever labels.
_HELPERS = re.compile(
    r"(is_?)?(valid|train|test|val|validation|training|split|fold|duplicate|flipped|augmented|verified|usable)|"
    r"id|index|idx|unnamed.*|width|height|size|count|total|sum|seed|partition|subset",
    re.IGNORECASE,
)


def of_classes(classes: Sequence[str]) -> list[str]:
    """Returns a sentence for each thing that is remarkable in the names of classes, for the summary.

    Args:
        classes: of the dataset.
    """
    sentences = []
    alike = defaultdict[str, list[str]](list)
    for name in classes:
        alike[re.sub(r"[\s_-]+", "", name).casefold()].append(name)
    same = [names for names in alike.values() if len(names) > 1]
    if same:
        pairs = some([" and ".join(map(repr, names)) for names in same])
        sentences.append(f"classes differ only in case, blanks or dashes: {pairs}. Are they the same?")
    joined = [name for name in classes if re.search(r"[;|]|, ?\w", name)]
    if joined:
        sentences.append(
            f"names of classes contain a delimiter: {some([repr(name) for name in joined])}. If each is several names: "
            "--label_delimiter"
        )
    helpers = [name for name in classes if _HELPERS.fullmatch(name)]
    if helpers:
        sentences.append(
            f"classes are called as other columns often are: {some([repr(name) for name in helpers])}. If they are "
            f"columns without labels: {flag('ignore_columns', helpers)}"
        )
    return sentences
