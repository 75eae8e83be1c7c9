"""Trains a small ResNet in plain PyTorch: PIL, a DataLoader with two workers, crops and flips, AdamW, a cosine.

    python plain_pytorch.py FOLDER SEED SCORES [EPOCHS]

FOLDER is that of same_images.py. The program prints a line for each epoch in the form of the trainer's, and at the end
writes the labels and the scores of the validation split to SCORES, an .npz file. The network is `small_resnet`.
"""

import csv
import random
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import average_precision_score
from torch import nn
from torch.utils.data import DataLoader, Dataset

_SIZE, _BATCH, _WORKERS, _EPOCHS = 64, 32, 2, 40
_LEARNING_RATE, _WEIGHT_DECAY = 2e-3, 0.05


class Photographs(Dataset):
    """The images of a split with their labels, cropped and mirrored at random if they are to be augmented."""

    def __init__(self, folder: str, split: str, augment: bool):
        with open(Path(folder, "labels.csv"), newline="") as file:
            labels = {name: [float(value) for value in values] for name, *values in list(csv.reader(file))[1:]}
        self._paths = sorted(Path(folder, "images", split).iterdir())
        self._labels = torch.tensor([labels[path.name] for path in self._paths])
        self._augment = augment

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = Image.open(self._paths[index]).convert("RGB")
        box = self._random_box(*image.size) if self._augment else None
        image = image.resize((_SIZE, _SIZE), Image.Resampling.BILINEAR, box)
        if self._augment and random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1, self._labels[index]

    def _random_box(self, width: int, height: int) -> tuple[float, float, float, float]:
        area, aspect = random.uniform(0.3, 1), random.uniform(3 / 4, 4 / 3)
        across, down = width * min((area * aspect) ** 0.5, 1), height * min((area / aspect) ** 0.5, 1)
        left, top = random.uniform(0, width - across), random.uniform(0, height - down)
        return left, top, left + across, top + down


def convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Module:
    """Returns a convolution with batch normalization."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """A residual block that halves height and width."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self._main = nn.Sequential(convolution(inputs, outputs, 3, 2), nn.ReLU(), convolution(outputs, outputs, 3))
        self._shortcut = nn.Sequential(nn.AvgPool2d(2), convolution(inputs, outputs, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns feature maps of half the height and width."""
        return torch.relu(self._main(x) + self._shortcut(x))


def network(num_classes: int) -> nn.Module:
    """Returns the network, which gives logits."""
    blocks = [Block(*channels) for channels in ((32, 32), (32, 64), (64, 128), (128, 256))]
    head = [nn.Dropout(0.2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, num_classes)]
    return nn.Sequential(convolution(3, 32, 3), nn.ReLU(), *blocks, *head)


def predict(model: nn.Module, loader: DataLoader) -> tuple[np.ndarray, np.ndarray]:
    """Returns the labels of all images, and the scores that the model gives them."""
    model.eval()
    with torch.no_grad():
        batches = [(labels, model(images).sigmoid()) for images, labels in loader]
    labels, scores = (torch.cat(parts).numpy() for parts in zip(*batches, strict=True))
    return labels, scores


def mean_average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """Returns the mean over the classes that have positive and negative examples."""
    pairs = [(one, score) for one, score in zip(labels.T, scores.T, strict=True) if 0 < one.sum() < len(one)]
    return float(np.mean([average_precision_score(*pair) for pair in pairs]))


def main(folder: str, seed: int, path: str, epochs: int) -> None:
    """Trains."""
    torch.manual_seed(seed)
    train, validation = (Photographs(folder, split, split == "train") for split in ("train", "validation"))
    train_loader = DataLoader(train, _BATCH, shuffle=True, num_workers=_WORKERS)
    validation_loader = DataLoader(validation, _BATCH, num_workers=_WORKERS)
    model = network(len(train[0][1]))
    optimizer = torch.optim.AdamW(model.parameters(), _LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(train_loader))
    loss_of = nn.BCEWithLogitsLoss()
    for epoch in range(1, epochs + 1):
        model.train()
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss_of(model(images), labels).backward()
            optimizer.step()
            schedule.step()
        labels, scores = predict(model, validation_loader)
        mean = mean_average_precision(labels, scores)
        print(f"Epoch {epoch}/{epochs}: val_mean_average_precision {mean:.4f}", flush=True)
    np.savez(path, labels=labels, scores=scores)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]) if len(sys.argv) > 4 else _EPOCHS)
