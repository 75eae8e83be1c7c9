"""Draws the example data set of scripts/quickstart: landscapes, with labels that can be seen in them.

    python scripts/make_example.py --output=DIR [--num_images=800] [--seed=0]

DIR/images/00001.jpg ...    mixed sizes, aspect ratios and JPEG qualities
DIR/labels.csv              filename,desert,mountains,sea,sunset,trees

An image depends on the seed and its number alone. No label follows from one colour: meadows are green without trees,
beaches are sandy without a desert, mountains are as blue as the sea, and some nights are as dark as a sunset.
"""

import argparse
import csv
import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("desert", "mountains", "sea", "sunset", "trees")

Point = tuple[float, float]
Colour = np.ndarray  # float [3]: red, green, blue, 0 to 255

# Each sky: colours from the zenith to the horizon, and last the light on the ground, per cent of red, green and blue.
_DAYS = (
    ((62, 128, 214), (186, 219, 244), (100, 100, 100)),
    ((112, 176, 228), (222, 236, 242), (105, 103, 100)),
    ((128, 138, 150), (204, 208, 210), (80, 82, 86)),
    ((188, 200, 208), (236, 234, 226), (95, 95, 95)),
    ((24, 34, 72), (76, 98, 142), (50, 54, 68)),
)
_SUNSETS = (
    ((74, 62, 122), (226, 104, 92), (255, 198, 98), (70, 54, 54)),
    ((196, 84, 74), (246, 142, 62), (255, 216, 120), (80, 58, 46)),
    ((92, 96, 164), (222, 132, 168), (255, 190, 150), (74, 62, 66)),
    ((40, 36, 72), (170, 62, 70), (252, 140, 54), (56, 44, 46)),
)
_ROCKS = ((92, 96, 112), (108, 96, 88), (76, 92, 124), (98, 104, 98))
_WATERS = ((20, 84, 140), (16, 116, 140), (40, 98, 122), (30, 70, 110))
_SANDS = ((226, 186, 122), (214, 160, 96), (236, 206, 152), (204, 138, 88))
_GRASSES = ((112, 158, 74), (134, 150, 82), (84, 132, 70), (150, 156, 92))
_LEAVES = ((46, 104, 52), (70, 122, 48), (36, 84, 58), (94, 128, 52))


class Scene:
    """A picture in the making, twice as large as it will be, so that edges come out smooth.

    Attributes:
        rng: source of all choices.
        size: width and height of the canvas, pixels.
        unit: hundredth of the shorter side, pixels.
        horizon: y at which the sky ends, pixels.
        light: factors of red, green and blue of what stands in the light of this sky.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        long = rng.randint(200, 420)
        short = max(120, round(long * rng.uniform(0.55, 1)))
        self.size = (2 * long, 2 * short) if rng.random() < 0.65 else (2 * short, 2 * long)
        self.unit = 2 * short / 100
        self.horizon = self.size[1] * rng.uniform(0.45, 0.68)
        self.light = np.ones(3)
        self.image = Image.new("RGB", self.size)
        self._draw = ImageDraw.Draw(self.image, "RGBA")

    def colour(self, *choices: Sequence[float] | Colour, amount: float = 12) -> Colour:
        """Returns a colour like one of the choices."""
        return np.array(self.rng.choice(choices)) + [self.rng.uniform(-amount, amount) for _ in range(3)]

    def anywhere(self, top: float, bottom: float) -> Point:
        """Returns a place between two heights, given as shares: 0 is the top of the sky, 1 the horizon, 2 the front."""
        share = self.rng.uniform(top, bottom)
        y = self.horizon * min(share, 1) + (self.size[1] - self.horizon) * max(share - 1, 0)
        return self.rng.uniform(0.05, 0.95) * self.size[0], y

    def polygon(self, points: Sequence[Point], colour: Colour, alpha: float = 1) -> None:
        """Fills a polygon."""
        self._draw.polygon(points, fill=self._lit(colour, alpha))

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour, alpha: float = 1) -> None:
        """Fills an ellipse."""
        self._draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=self._lit(colour, alpha))

    def line(self, points: Sequence[Point], colour: Colour, width: float, alpha: float = 1) -> None:
        """Draws a line, its width in units."""
        self._draw.line(points, fill=self._lit(colour, alpha), width=max(1, round(width * self.unit)))

    def ground(self, edge: Sequence[Point], colour: Colour) -> None:
        """Fills everything below a line across the picture."""
        self.polygon([*edge, self.size, (0, self.size[1])], colour)

    def wave(self, y: float, swing: float) -> list[Point]:
        """Returns a smooth line across the picture, for `ground`."""
        waves = [(self.rng.uniform(0.5, 2.2) * math.tau, self.rng.uniform(0, math.tau)) for _ in range(2)]
        shares = [i / 40 for i in range(41)]
        return [(self.size[0] * t, y + swing * self.unit * sum(math.sin(k * t + p) for k, p in waves)) for t in shares]

    def gradient(self, top: float, bottom: float, colours: Sequence[Colour]) -> None:
        """Fills the whole width between two heights with colours that run into each other."""
        places = np.linspace(0, len(colours) - 1, math.ceil(bottom) - int(top))
        column = np.stack([np.interp(places, range(len(colours)), np.array(colours)[:, i]) for i in range(3)], axis=1)
        column = (column * self.light).clip(0, 255).astype(np.uint8)
        self.image.paste(Image.fromarray(column[:, np.newaxis]).resize((self.size[0], len(column))), (0, int(top)))

    def finished(self) -> Image.Image:
        """Returns the picture in its own size, with the blotches, the grain and the contrast of a photograph."""
        pixels = np.asarray(self.image.reduce(2)).astype(np.float32)
        height, width, _ = pixels.shape
        noise = np.random.default_rng(self.rng.getrandbits(32))
        blotches = Image.fromarray(noise.normal(0, 5, (height // 24 + 2, width // 24 + 2)).astype(np.float32))
        pixels += np.asarray(blotches.resize((width, height), Image.Resampling.BICUBIC))[..., np.newaxis]
        pixels += noise.standard_normal((height, width, 1), np.float32) * self.rng.uniform(1, 7)
        pixels = (pixels - 128) * self.rng.uniform(0.8, 1.05) + 128 + self.rng.uniform(-12, 12)
        return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))

    def _lit(self, colour: Colour, alpha: float) -> tuple[int, ...]:
        return (*(int(c) for c in (colour * self.light).clip(0, 255)), round(255 * alpha))


def draw(labels: Sequence[str], rng: random.Random) -> Image.Image:
    """Draws a landscape, from back to front.

    Args:
        labels: names of CLASSES; at most one of desert and sea.
        rng: source of all choices.
    """
    scene = Scene(rng)
    sun = _sky(scene, "sunset" in labels)
    if "mountains" in labels:
        _mountains(scene)
    if "sea" in labels:
        _sea(scene, sun if "sunset" in labels else None)
        if "trees" in labels or rng.random() < 0.3:
            _shore(scene, scene.colour(*_GRASSES if "trees" in labels else _SANDS))
    else:
        _dunes(scene) if "desert" in labels else _meadow(scene)
    if "trees" in labels:
        _trees(scene, farthest=1.75 if "sea" in labels else 1.05)
    return scene.finished()


def _sky(scene: Scene, sunset: bool) -> Point:
    """Sky, sun, clouds and birds; returns where the sun is."""
    rng = scene.rng
    *colours, light = rng.choice(_SUNSETS) if sunset else rng.choices(_DAYS, (4, 3, 3, 2, 1))[0]
    scene.gradient(0, scene.horizon + 1, [scene.colour(colour) for colour in colours])
    sun, radius = scene.anywhere(0.82, 1) if sunset else scene.anywhere(0.1, 0.4), scene.unit * rng.uniform(4, 8)
    if sunset or rng.random() < 0.3:
        for glow in (3, 2.5, 2, 1.5, 1):
            scene.ellipse(*sun, radius * glow, radius * glow, np.array((255, 236, 170)), 0.1 if glow > 1 else 1)
    for _ in range(rng.choice((0, 0, 1, 2, 3, 5))):
        (x, y), size, flat = scene.anywhere(0.05, 0.6), scene.unit * rng.uniform(4, 11), rng.uniform(0.3, 0.7)
        for _ in range(rng.randint(4, 9)):
            dx, r = rng.uniform(-2, 2) * size, size * rng.uniform(0.5, 1)
            colour = scene.colour((255, 176, 150) if sunset else (250, 250, 252), amount=5)
            scene.ellipse(x + dx, y + rng.uniform(-0.4, 0.1) * size, r, r * flat, colour, 0.55)
    for _ in range(rng.choice((0, 0, 3, 6))):
        (x, y), wing = scene.anywhere(0.1, 0.5), 2 * scene.unit
        scene.line([(x - wing, y - wing / 2), (x, y), (x + wing, y - wing / 2)], np.array((40, 40, 46)), 0.5)
    scene.light = np.array(light) / 100
    return sun


def _mountains(scene: Scene) -> None:
    """Rows of peaks, the far ones higher and paler."""
    rng, snow, rock, rows = scene.rng, scene.rng.random() < 0.8, scene.colour(*_ROCKS), scene.rng.randint(2, 3)
    for row in range(rows):
        near, peaks = (row + 1) / rows, rng.randint(2, 4)
        for peak in range(peaks):
            x, tall = scene.size[0] * (peak + rng.random()) / peaks, scene.horizon * rng.uniform(0.5, 0.85)
            haze = np.array((168, 184, 206)) * (1 - near)
            _peak(scene, x, tall * (1.1 - 0.4 * near), scene.colour(rock * near + haze, amount=5), snow)


def _peak(scene: Scene, x: float, tall: float, rock: Colour, snow: bool) -> None:
    """One mountain: a face in the light, one in the shade, and snow down to a ragged line."""
    rng, base = scene.rng, scene.horizon + scene.unit
    jags = [0.0, *(rng.uniform(-0.05, 0.05) for _ in range(5)), 0.0]

    def edge(wide: float, depth: float = 1) -> list[Point]:
        return [(x + wide * (depth * i / 6 + jag), base - tall * (1 - depth * i / 6)) for i, jag in enumerate(jags)]

    ridge, line = tall * rng.uniform(-0.15, 0.25), rng.uniform(0.25, 0.45)
    for wide, shade in ((-tall * rng.uniform(0.7, 1.3), 1), (tall * rng.uniform(0.7, 1.3), 0.72)):
        scene.polygon([*edge(wide), *edge(ridge)[::-1]], rock * shade)
        if snow:
            (x0, y0), (x1, _) = edge(wide, line)[-1], edge(ridge, line)[-1]
            ragged = [(x0 + (x1 - x0) * i / 5, y0 + tall * (0.06 if i % 2 else -0.04)) for i in range(1, 5)]
            scene.polygon([*edge(wide, line), *ragged, *edge(ridge, line)[::-1]], np.full(3, 125 + 125 * shade))


def _sea(scene: Scene, sun: Point | None) -> None:
    """Water with waves, and with the path of a low sun."""
    rng, water = scene.rng, scene.colour(*_WATERS)
    scene.gradient(scene.horizon, scene.size[1], (water + 55, water, water))
    for _ in range(rng.randint(40, 110)):
        near = rng.random() ** 1.5
        (x, y), half = scene.anywhere(1 + near, 1 + near), scene.unit * (1 + 7 * near) * rng.uniform(0.5, 1.3)
        crest = [(x - half, y), (x, y - scene.unit * near), (x + half, y)]
        scene.line(crest, np.array((225, 240, 245)), 0.3 + 0.7 * near, rng.uniform(0.15, 0.6))
    for _ in range(60 if sun else 0):
        (_, y), half = scene.anywhere(1, 2), scene.unit * rng.uniform(1, 4)
        x = (sun[0] if sun else 0) + scene.unit * rng.gauss(0, 5)
        scene.line([(x - half, y), (x + half, y)], np.array((400, 380, 300)), 0.8, 0.6)


def _shore(scene: Scene, colour: Colour) -> None:
    """Land in front of the water, with foam along it."""
    edge = scene.wave(scene.anywhere(1.6, 1.72)[1], 1.2)
    scene.ground([(x, y - scene.unit) for x, y in edge], np.array((240, 246, 246)))
    scene.ground(edge, colour)


def _dunes(scene: Scene) -> None:
    """Rows of dunes with a lit and a shaded side; ripples in the sand; sometimes a road."""
    rng, sand, rows = scene.rng, scene.colour(*_SANDS), scene.rng.randint(2, 4)
    scene.gradient(scene.horizon, scene.size[1], (sand, sand - 10))
    for row in range(rows):
        for _ in range(rng.randint(1, 3)):
            _dune(scene, *scene.anywhere(1 + (row + 0.3) / rows, 1 + (row + 0.5) / rows), scene.colour(sand, amount=8))
    for _ in range(rng.randint(4, 14)):
        (x, y), step = scene.anywhere(1, 2), scene.unit * rng.uniform(2, 6)
        scene.line([(x + step * t, y + scene.unit * math.sin(t)) for t in range(-5, 6)], sand * 0.78, 0.5, 0.5)
    if rng.random() < 0.25:
        _road(scene)


def _dune(scene: Scene, x: float, y: float, sand: Colour) -> None:
    tall, ts = (scene.size[1] - scene.horizon) * scene.rng.uniform(0.2, 0.45), [i / 12 for i in range(13)]
    wide = tall * scene.rng.uniform(2.5, 4.5)
    left = [(x - wide * (1 - t), y - tall * t**1.6) for t in ts]
    right = [(x + wide * 0.7 * t, y - tall * (1 - t) ** 1.6) for t in ts]
    crease = [(x + wide * (0.12 * math.sin(3 * t) - 0.1 * t), y - tall * (1 - t)) for t in ts]
    scene.polygon([*left, *right], sand)
    scene.polygon([*right, *crease[::-1]], sand * (0.78, 0.72, 0.66))


def _meadow(scene: Scene) -> None:
    """Hills of grass; sometimes a road and houses."""
    rng, grass, hills = scene.rng, scene.colour(*_GRASSES), scene.rng.randint(1, 3)
    scene.gradient(scene.horizon, scene.size[1], (grass, grass))
    for hill in range(hills):
        y = scene.horizon + (scene.size[1] - scene.horizon) * hill / hills
        scene.ground(scene.wave(y, 2.5), scene.colour(grass, amount=10))
    if rng.random() < 0.35:
        _road(scene)
    for _ in range(rng.choice((0, 0, 1, 2))):
        _house(scene, *scene.anywhere(1.1, 1.5), scene.unit * rng.uniform(6, 13))


def _road(scene: Scene) -> None:
    (x0, _), (x1, _), bend = scene.anywhere(1, 1), scene.anywhere(1, 1), scene.rng.uniform(-0.3, 0.3)
    xs = [x0 + (x1 - x0) * (i / 12) ** 1.5 + bend * scene.size[0] * math.sin(math.pi * i / 12) for i in range(13)]
    ys = [scene.horizon + (scene.size[1] - scene.horizon) * (0.06 + i / 12) for i in range(13)]
    halves = [scene.unit * (0.4 + 12 * (i / 12) ** 2) for i in range(13)]
    left, right = ([(x + side * half, y) for x, y, half in zip(xs, ys, halves, strict=True)] for side in (-1, 1))
    scene.polygon([*left, *right[::-1]], scene.colour((120, 118, 118)))
    scene.line(list(zip(xs, ys, strict=True))[4:], np.array((235, 230, 210)), 0.6, 0.8)


def _house(scene: Scene, x: float, y: float, size: float) -> None:
    def box(left: float, top: float, width: float, height: float, colour: Colour) -> None:
        corners = ((left, top), (left + width, top), (left + width, top + height), (left, top + height))
        scene.polygon([(x + a * size, y + b * size) for a, b in corners], colour)

    box(-1, -1, 2, 1, scene.colour((222, 212, 196), amount=25))
    box(-0.6, -0.75, 0.4, 0.4, np.array((84, 96, 112)))
    box(0.2, -0.75, 0.4, 0.4, np.array((84, 96, 112)))
    roof = [(x - 1.2 * size, y - size), (x, y - 1.8 * size), (x + 1.2 * size, y - size)]
    scene.polygon(roof, scene.colour((160, 70, 56), (96, 84, 84)))


def _trees(scene: Scene, farthest: float) -> None:
    """A few large trees or many smaller ones, the far ones first."""
    rng, kind, leaves = scene.rng, scene.rng.choice((_conifer, _broadleaf)), scene.colour(*_LEAVES)
    number, scale = rng.choice(((rng.randint(2, 5), 1.15), (rng.randint(9, 16), 0.75)))
    for x, y in sorted((scene.anywhere(farthest, 1.95) for _ in range(number)), key=lambda place: place[1]):
        near = (y - scene.horizon) / (scene.size[1] - scene.horizon)
        tall = scene.size[1] * scale * (0.2 + 0.3 * near) * rng.uniform(0.7, 1.2)
        wide = tall * 0.04
        trunk = [(x - wide, y), (x - wide / 2, y - tall / 2), (x + wide / 2, y - tall / 2), (x + wide, y)]
        scene.polygon(trunk, scene.colour((92, 66, 46)))
        (kind if rng.random() < 0.85 else _broadleaf)(scene, x, y, tall, scene.colour(leaves, amount=14))


def _conifer(scene: Scene, x: float, y: float, tall: float, leaves: Colour) -> None:
    for tier in range(4):
        bottom, half = y - tall * (0.14 + 0.19 * tier), tall * (0.24 - 0.045 * tier)
        top = y - tall if tier == 3 else bottom - tall * 0.33
        scene.polygon([(x - half, bottom), (x, top), (x + half, bottom)], leaves + 3 * tier)
        scene.polygon([(x + half * 0.1, bottom), (x, top), (x + half, bottom)], np.array((10, 30, 20)), 0.25)


def _broadleaf(scene: Scene, x: float, y: float, tall: float, leaves: Colour) -> None:
    for i in range(11):
        dx, dy, r = (tall * scene.rng.uniform(*span) for span in ((-0.2, 0.2), (-0.16, 0.16), (0.12, 0.2)))
        scene.ellipse(x + dx, y - tall * 0.68 + dy, r, r * 0.85, leaves * (0.8 + 0.04 * i - dy / tall))


def choose_labels(rng: random.Random) -> list[str]:
    """Returns one to three labels that occur together in nature: neither sea nor trees in a desert."""
    while True:
        ground = rng.choices(("desert", "sea", ""), (27, 35, 38))[0]
        chances = {"mountains": 0.35, "sunset": 0.4, "trees": {"desert": 0.0, "sea": 0.25, "": 0.45}[ground]}
        labels = [ground] * bool(ground) + [label for label, chance in chances.items() if rng.random() < chance]
        if 1 <= len(labels) <= 3:
            return labels


def make(output: Path, num_images: int = 800, seed: int = 0) -> None:
    """Writes the data set.

    Args:
        output: folder for `images/` and `labels.csv`; files of the same names are replaced.
        num_images: at least 1.
        seed: another one gives other images.
    """
    images = output / "images"
    images.mkdir(parents=True, exist_ok=True)
    with open(output / "labels.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["filename", *CLASSES])
        for number in range(1, num_images + 1):
            rng, name = random.Random(f"{seed} {number}"), f"{number:05d}.jpg"
            labels = choose_labels(rng)
            draw(labels, rng).save(images / name, quality=rng.randint(60, 95))
            writer.writerow([name, *(int(label in labels) for label in CLASSES)])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Draws landscapes, with labels that can be seen in them.")
    parser.add_argument("--output", type=Path, required=True, help="folder for images/ and labels.csv")
    parser.add_argument("--num_images", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    make(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
