"""Says why a conversion publishes no dataset: counts that do not add up, or too many rejected rows."""

import itertools
from collections import Counter
from fractions import Fraction

from converter.job.results import ConversionResult
from converter.options import ConvertOptions
from converter.rejects import Reason
from converter.table import suggestions
from schemas import layout

# Names of missing files that are looked at, of which suggestions.py compares a part.
_MOST_NAMES = 100_000


def reason(options: ConvertOptions, conversion_result: ConversionResult, is_there: bool) -> str | None:
    """Returns the reason why the dataset cannot be published; None if it can.

    Args:
        options: of the conversion.
        conversion_result: the results of all steps.
        is_there: whether there is a dataset in its place.
    """
    num_rows, rejects = conversion_result.num_rows, conversion_result.rejects
    if is_there and not options.overwrite:
        return f"{options.dataset} has become a dataset in the meantime. Replace it by --overwrite."
    if num_rows != conversion_result.num_examples + len(rejects) + conversion_result.num_merged:
        merged = f", {conversion_result.num_merged} merged" if conversion_result.num_merged else ""
        return (
            f"{num_rows} rows were read, but {conversion_result.num_examples} were written{merged} and {len(rejects)} "
            "rejected. Nothing is published, since some would be missing or doubled. This is a defect of multihot or "
            "of the runner."
        )
    allowed = options.rejects_allowed(num_rows)
    if len(rejects) <= allowed and conversion_result.num_examples and not conversion_result.has_row_for_each_label:
        return None
    if not conversion_result.num_examples and not rejects:
        return f"{options.csv} has only blank rows. Nothing is published."
    return _too_many_rejects(options, conversion_result, allowed)


def _too_many_rejects(options: ConvertOptions, conversion_result: ConversionResult, allowed: int) -> str:
    """Returns the message for too many rejects, with a line for each reason."""
    rejects = conversion_result.rejects
    limit = f"={float(options.max_rejects):g}" if isinstance(options.max_rejects, Fraction) else ""
    too_many = f"at most {allowed} may be (--max_rejects{limit})" if len(rejects) > allowed else "no image is left"
    if len(rejects) <= allowed and conversion_result.num_examples:
        too_many = "images with several labels would be missing among the others"
    hint = _hint(options, conversion_result)
    lines = [
        f"{len(rejects)} of {conversion_result.num_rows} rows were rejected; {too_many}.",
        "Nothing is published. What is wrong, with the first row of each kind:",
    ]
    for kind, count in Counter(reject.reason.value for reject in rejects).most_common():
        first = next(reject for reject in rejects if reject.reason == kind)
        lines.append(f"  {count:>7} {kind}: {first.csv} line {first.line}, {first.filename!r}: {first.detail}")
        if suggestions.may_help(Reason(kind)) and hint:
            lines.append(f"          ({hint})")
            hint = ""
        if kind == Reason.DUPLICATE_NAME:
            lines.append("          (--merge_rows makes one image of rows that name the same file)")
        if kind == Reason.CONFLICTING_ROWS and conversion_result.has_row_for_each_label:
            lines.append(
                f"          (the rows of {conversion_result.num_differing} files differ in labels alone, as in "
                "a table with a row for each label: --merge_rows makes one image of the rows of a file, with all "
                "labels)"
            )
    lines.append(f"All of them: {options.incomplete}/{layout.REJECTS}")
    return "\n".join(lines)


def _hint(options: ConvertOptions, conversion_result: ConversionResult) -> str:
    """Returns a sentence about names in the table that are no names of files; "" if there is nothing to say."""
    rejects, unlisted = conversion_result.rejects, conversion_result.unlisted
    if not unlisted and all(reject.reason == Reason.MISSING_FILE for reject in rejects):
        return "" if conversion_result.num_examples else f"{options.images} holds no file: is it the right folder?"
    # From all parts of the table: a sample tells the kinds of names.
    some = itertools.islice(rejects, 0, None, 1 + len(rejects) // _MOST_NAMES)
    missing = [reject for reject in some if suggestions.may_help(reject.reason)]
    return suggestions.hint(options, missing, unlisted, conversion_result.num_examples)
