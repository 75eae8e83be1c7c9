"""Our pipeline, as the trainer has it: `pipeline` is the kind of augmentation, and `exact` behind it."""

import dataclasses
import functools
import math
from typing import Any

from serve import Request, serve

from trainer import sources
from trainer.config import TrainConfig
from trainer.input import caching, pipeline
from trainer.input.caching import Plan


def batches(request: Request) -> Any:
    """Returns the batches of a training."""
    if request.check:  # An epoch leaves out what does not fill a batch: of these batches all are full.
        request = dataclasses.replace(request, batch=math.gcd(request.batch, request.num_images))
    kept = _dataset if request.cached else _dataset.__wrapped__
    # One cache for all ways to read it.
    same = dataclasses.replace(request, epochs=1, check=False, whole_epochs=False)
    # A reader is asked for a number of images. Those that an epoch leaves out are read in more epochs.
    batch = min(request.batch, request.num_images)
    in_an_epoch = request.num_images // batch * batch
    return kept(same).repeat(math.ceil(request.epochs * request.num_images / in_an_epoch) if request.epochs > 1 else 1)


@functools.cache
def _dataset(request: Request) -> Any:
    kind, _, decode = request.pipeline.partition(" ")
    config = TrainConfig(
        data=(request.dataset,),
        output="none",
        image_size=request.size,
        batch_size=request.batch,
        augment=kind,
        decode=decode or "scaled",
        # As one would choose where nothing is cached: only the crop is decoded.
        crop_from="resized" if request.cached else "original",
    )
    data = sources.load(config)
    plan = Plan("decoded" if request.cached else "none", on_disk=False, reason="asked for")
    cached = caching.fill_or_open(plan, config, data, "train", pipeline.cached_image_size(config))
    return pipeline.training_dataset(config, data, cached)


if __name__ == "__main__":
    serve(batches)
