"""Our pipeline, as the trainer has it: `pipeline` is the kind of augmentation."""

import dataclasses
import functools
from typing import Any

from serve import Request, serve

from trainer import dataset, sources
from trainer.config import AUGMENTS, TrainConfig


def batches(request: Request) -> Any:
    """Returns the batches of a training."""
    kept = _dataset if request.cached else _dataset.__wrapped__
    # One cache for all ways to read it.
    same = dataclasses.replace(request, epochs=1, check=False, in_graph=False, whole_epochs=False)
    return kept(same).repeat(request.epochs)


@functools.cache
def _dataset(request: Request) -> Any:
    config = TrainConfig(
        data=(request.dataset,),
        output="none",
        image_size=request.size,
        batch_size=request.batch,
        augment=request.pipeline if request.pipeline in AUGMENTS else "full",
        cache="memory" if request.cached else "none",
    )
    return dataset.training_dataset(config, sources.load(config), cache="" if request.cached else None)


if __name__ == "__main__":
    serve(batches)
