"""Compares thresholds of 0.5 with those of training images: `python scripts/bench/thresholds.py RUN [RUN ...]`.

For each finished run it computes F1 and hamming loss on the validation split: at 0.5, at the thresholds of out-of-fold
scores (the mean over four ways of cutting the images into folds), and at those of the scores of the model itself.
"""

import argparse

import numpy as np
import sklearn.metrics

from multihot.quiet import quiet

with quiet():
    from trainer import features, finished_run, out_of_fold, thresholds
    from trainer.evaluation import predicting
    from trainer.input import pipeline

_FOLDINGS = range(100, 104)


def main() -> None:
    """Prints a row for each way of choosing thresholds: mean and standard deviation over the runs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="+")
    rows: dict[str, list[np.ndarray]] = {}
    for path in parser.parse_args().runs:
        for name, found in _of_run(path).items():
            rows.setdefault(name, []).append(found)
            print("  ", path, name, found.round(4), flush=True)
    print("| thresholds | F1, mean of the classes | F1 of all labels | hamming loss |\n|---|---|---|---|")
    for name, each in rows.items():
        cells = (f"{mean:.4f} ± {sd:.4f}" for mean, sd in zip(np.mean(each, 0), np.std(each, 0, ddof=1), strict=True))
        print(f"| {name} | {' | '.join(cells)} |")


def _of_run(path: str) -> dict[str, np.ndarray]:
    run = finished_run.find(path)
    network = run.load_model()
    train = predicting.subject(run, (), run.config.train_split)
    extractor, num = features.of_head(network), train.data.split(train.split).num_examples
    found = features.empty(num, extractor, len(train.data.classes))
    features.compute(extractor, pipeline.evaluation_dataset(train.config, train.data, train.split), found)
    labels = found.labels
    own = predicting.predict(network, train)
    validation = predicting.predict(network, predicting.subject(run, (), run.config.validation_split))
    folded = [
        thresholds.tune(out_of_fold.probabilities(found.features, labels, seed=seed), labels) for seed in _FOLDINGS
    ]

    def figures(limits: tuple[float, ...]) -> np.ndarray:
        predicted = validation.scores >= np.array(limits, np.float32)
        macro, micro = (
            sklearn.metrics.f1_score(validation.labels, predicted, average=average) for average in ("macro", "micro")
        )
        return np.array([macro, micro, np.mean(predicted != validation.labels)])

    return {
        "0.5": figures((0.5,) * len(run.info.classes)),
        "out-of-fold scores": np.mean([figures(one) for one in folded], axis=0),
        "scores of the model itself": figures(thresholds.tune(own.scores, labels)),
    }


if __name__ == "__main__":
    main()
