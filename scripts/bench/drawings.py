"""Pictures that are easily taken for each other, made from seeds, and the copies that are to be found of a picture.

Each kind has families of MEMBERS pictures. Those of a family have their layout in common and differ in one thing that a
person sees: in a colour, a shape, a digit, a place, the values of a plot.
"""

import io
import math
import string
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

# Pictures of a family.
MEMBERS = 4

_HUES = (
    (222, 60, 50), (60, 90, 225), (50, 180, 75), (240, 205, 60),
    (150, 60, 190), (245, 130, 40), (40, 40, 40), (110, 200, 220),
)  # fmt: skip
_GROUNDS = ((255, 255, 255), (0, 0, 0), (240, 236, 220), (120, 160, 200), (128, 128, 128), (35, 60, 40))
_SHAPES = ("ellipse", "square", "diamond", "triangle", "star", "cross", "ring", "bar")
# Drawn so many times as large, and reduced: lines have soft edges.
_FINER = 2

Box = tuple[float, float, float, float]


class Change(NamedTuple):
    """A change that makes a copy of a picture.

    Attributes:
        name: of the change.
        apply: makes the copy's pixels of those of the original.
        quality: of the JPEG that the copy is saved as.
    """

    name: str
    apply: Callable[[Image.Image], Image.Image]
    quality: int = 90


def _scaled(image: Image.Image, factor: float) -> Image.Image:
    size = round(image.width * factor), round(image.height * factor)
    return image.resize(size, Image.Resampling.LANCZOS)


def _cropped(image: Image.Image, share: float) -> Image.Image:
    x, y = round(image.width * share), round(image.height * share)
    return image.crop((x, y, image.width - x, image.height - y))


def _lit(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor)


CHANGES = (
    Change("JPEG 50", lambda image: image, 50),
    Change("JPEG 90", lambda image: image, 90),
    Change("halved", lambda image: _scaled(image, 0.5)),
    Change("x 0.8", lambda image: _scaled(image, 0.8)),
    Change("x 1.3", lambda image: _scaled(image, 1.3)),
    Change("doubled", lambda image: _scaled(image, 2.0)),
    Change("cropped 1 %", lambda image: _cropped(image, 0.01)),
    Change("cropped 2 %", lambda image: _cropped(image, 0.02)),
    Change("lit", lambda image: _lit(image, 1.2)),
    Change("dimmed", lambda image: _lit(image, 0.8)),
)


def copy(image: Image.Image, change: Change) -> bytes:
    """Returns a changed copy of a picture, as JPEG."""
    return encoded(change.apply(image.convert("RGB")), "JPEG", change.quality)


def encoded(image: Image.Image, file_format: str, quality: int = 90) -> bytes:
    """Returns a picture as a file."""
    file = io.BytesIO()
    image.save(file, file_format, **({"quality": quality} if file_format == "JPEG" else {}))
    return file.getvalue()


class _Canvas:
    """A picture to draw in, with the randomness of its family and that of its own."""

    def __init__(self, kind: str, index: int, mode: str = "RGB"):
        self.family = np.random.default_rng([*kind.encode(), index // MEMBERS])
        self.own = np.random.default_rng([*kind.encode(), index // MEMBERS, 1 + index % MEMBERS])
        self.member = index % MEMBERS
        self.width, self.height = (int(side) for side in self.family.integers(120, 420, 2))
        self._mode = mode

    def begin(self, ground: tuple[int, ...]) -> ImageDraw.ImageDraw:
        self.image = Image.new(self._mode, (self.width * _FINER, self.height * _FINER), ground)
        self.draw = ImageDraw.Draw(self.image)
        return self.draw

    def box(self, x: float, y: float, width: float, height: float | None = None) -> Box:
        """Returns a box from shares of the width: its middle, and its sides."""
        unit = min(self.width, self.height) * _FINER
        height = width if height is None else height
        middle = x * self.width * _FINER, y * self.height * _FINER
        half = width * unit / 2, height * unit / 2
        return middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1]

    def text(self, x: float, y: float, text: str, size: float, fill: tuple[int, ...]) -> None:
        """Writes text with its left middle at a place; the size is a share of the shorter side."""
        font = ImageFont.load_default(max(8, size * min(self.width, self.height) * _FINER))
        self.draw.text((x * self.width * _FINER, y * self.height * _FINER), text, fill, font, anchor="lm")

    def end(self) -> Image.Image:
        return self.image.reduce(_FINER)


def _shape(draw: ImageDraw.ImageDraw, name: str, box: Box, fill: tuple[int, ...]) -> None:
    left, top, right, bottom = box
    x, y, side = (left + right) / 2, (top + bottom) / 2, (right - left) / 2
    if name == "ellipse":
        draw.ellipse(box, fill)
    elif name == "square":
        draw.rectangle(box, fill)
    elif name == "ring":
        draw.ellipse(box, None, fill, max(2, round(side / 3)))
    elif name == "bar":
        draw.rectangle((left, y - side / 3, right, y + side / 3), fill)
    elif name == "cross":
        draw.rectangle((left, y - side / 3, right, y + side / 3), fill)
        draw.rectangle((x - side / 3, top, x + side / 3, bottom), fill)
    else:
        corners, inner = {"diamond": (4, 1.0), "triangle": (3, 1.0), "star": (5, 0.4)}[name]
        points = []
        for i in range(2 * corners):
            angle, reach = math.pi * i / corners, side * (inner if i % 2 else 1.0)
            if i % 2 == 0 or inner < 1:
                points.append((x + reach * math.sin(angle), y - reach * math.cos(angle)))
        draw.polygon(points, fill)


def _contrasting(rng: np.random.Generator, ground: tuple[int, ...], number: int) -> list[tuple[int, ...]]:
    """Returns different colours that can be seen on a ground."""
    seen = [hue for hue in _HUES if sum(abs(a - b) for a, b in zip(hue, ground, strict=False)) > 150]
    return [seen[i] for i in rng.permutation(len(seen))[:number]]


def figures(index: int) -> Image.Image:
    """Small figures on a plain ground; of a family, another colour, shape or place each."""
    at = _Canvas("figures", index)
    ground = _GROUNDS[at.family.integers(len(_GROUNDS))]
    one, other = _contrasting(at.family, ground, 2)
    first, second = (_SHAPES[i] for i in at.family.permutation(len(_SHAPES))[:2])
    x, y = at.family.uniform(0.25, 0.75, 2)
    size = at.family.uniform(0.12, 0.4)
    places = [(x, y), (x, y), (x, y), (1 - x if abs(x - 0.5) > 0.1 else x + 0.2, y)]
    _shape(
        at.begin(ground),
        first if at.member != 1 else second,
        at.box(*places[at.member], size),
        other if at.member == 2 else one,
    )
    return at.end()


def places(index: int) -> Image.Image:
    """One figure of each shape and colour, all of one size in the middle of one ground."""
    colour, shape = index % len(_HUES), index // len(_HUES) % len(_SHAPES)
    size = (0.3, 0.5, 0.2)[index // 64 % 3]
    at = _Canvas("places", 0)
    at.width = at.height = 160
    _shape(
        at.begin((0, 0, 0) if index // 64 % 2 == 0 else (255, 255, 255)),
        _SHAPES[shape],
        at.box(0.5, 0.5, size),
        _HUES[colour],
    )
    return at.end()


def _mark(at: _Canvas, rng: np.random.Generator, colours: list[tuple[int, ...]]) -> None:
    """Draws what a logo has: two or three shapes over each other."""
    for i in range(int(rng.integers(2, 4))):
        x, y = rng.uniform(0.35, 0.65, 2)
        _shape(
            at.draw,
            _SHAPES[rng.integers(len(_SHAPES))],
            at.box(x, y, rng.uniform(0.25, 0.7)),
            colours[i % len(colours)],
        )


def logos(index: int) -> Image.Image:
    """Logos that were cut out, on white or black; half of each family has its marks in common, in other colours."""
    at = _Canvas("logos", index)
    ground = _GROUNDS[at.family.integers(2)]
    marks = np.random.default_rng([index // MEMBERS, at.member // 2])
    at.begin(ground)
    _mark(at, marks, _contrasting(at.own, ground, 3))
    return at.end()


def icons(index: int) -> Image.Image:
    """Icons with transparency: a mark on nothing, of which a decoder that knows no transparency sees black."""
    at = _Canvas("icons", index, "RGBA")
    at.width = at.height = int(at.family.choice([48, 64, 128, 256]))
    at.begin((0, 0, 0, 0))
    _mark(
        at,
        np.random.default_rng([7, index // MEMBERS, at.member // 2]),
        [(*hue, 255) for hue in _contrasting(at.own, (0, 0, 0), 3)],
    )
    return at.end()


def _words(rng: np.random.Generator, number: int) -> str:
    letters = string.ascii_lowercase
    return " ".join("".join(letters[i] for i in rng.integers(0, 26, rng.integers(2, 9))) for _ in range(number))


def documents(index: int) -> Image.Image:
    """Pages of text in one layout: other words each, a title in large letters, sometimes a block for a picture."""
    at = _Canvas("documents", index)
    at.width, at.height = 300, 400
    at.begin((255, 255, 255))
    at.text(0.1, 0.08, _words(at.own, 2), 0.07, (20, 20, 20))
    lines = np.linspace(0.18, 0.92, 24)
    block = at.family.integers(0, 20)
    for i, y in enumerate(lines):
        if block <= i < block + 4:
            continue
        at.text(0.1, float(y), _words(at.own, 20)[: int(at.own.integers(25, 48))], 0.035, (30, 30, 30))
    return at.end()


def forms(index: int) -> Image.Image:
    """A scanned form with boxes, filled in by other hands: same layout, other values; grainy and slightly grey."""
    at = _Canvas("forms", index)
    at.width, at.height = 320, 420
    at.begin((244, 243, 240))
    at.text(0.1, 0.07, _words(at.family, 2), 0.06, (20, 20, 20))
    for y in np.linspace(0.16, 0.9, 9):
        at.text(0.08, float(y), _words(at.family, 1), 0.035, (60, 60, 60))
        left, top, right, bottom = 0.36 * at.width, (y - 0.03) * at.height, 0.92 * at.width, (y + 0.03) * at.height
        at.draw.rectangle(tuple(_FINER * side for side in (left, top, right, bottom)), None, (90, 90, 90), 2)
        at.text(0.39, float(y), _words(at.own, 3)[: int(at.own.integers(4, 16))], 0.05, (25, 35, 120))
    grain = at.own.normal(0, 4, (at.height, at.width, 1))
    return Image.fromarray(np.clip(np.asarray(at.end()) + grain, 0, 255).astype(np.uint8))


def characters(index: int) -> Image.Image:
    """Signs with one large letter or digit, in one place and colour; of a family, another character each."""
    at = _Canvas("characters", index)
    ground = _GROUNDS[at.family.integers(len(_GROUNDS))]
    (colour,) = _contrasting(at.family, ground, 1)
    some = at.family.permutation(list(string.digits + "ABCDEFGHKLMNPRSTUVXYZ"))
    at.begin(ground)
    at.text(
        float(at.family.uniform(0.2, 0.5)),
        float(at.family.uniform(0.4, 0.6)),
        str(some[at.member]),
        float(at.family.uniform(0.2, 0.7)),
        colour,
    )
    return at.end()


def numbers(index: int) -> Image.Image:
    """Cards with a frame, a caption and a number; of a family, another number each, of as many digits."""
    at = _Canvas("numbers", index)
    ground = _GROUNDS[at.family.integers(3)]
    colour, frame = _contrasting(at.family, ground, 2)
    draw = at.begin(ground)
    draw.rectangle((8, 8, at.width * _FINER - 9, at.height * _FINER - 9), None, frame, 6)
    at.text(0.15, 0.25, _words(at.family, 1), 0.12, frame)
    at.text(
        0.15,
        0.6,
        str(int(at.family.integers(1, 9)) * 10 + (int(at.family.integers(10)) + 3 * at.member) % 10),
        0.3,
        colour,
    )
    return at.end()


def lines(index: int) -> Image.Image:
    """Drawings of thin lines, one or two pixels wide, on white: other strokes each."""
    at = _Canvas("lines", index)
    draw = at.begin((255, 255, 255))
    for _ in range(int(at.family.integers(2, 6))):
        points = [(x * at.width * _FINER, y * at.height * _FINER) for x, y in at.own.uniform(0.1, 0.9, (3, 2))]
        draw.line(points, (20, 20, 20), int(at.family.integers(2, 5)))
    return at.end()


def plots(index: int) -> Image.Image:
    """Plots with axes, a grid and a caption: other values each, as bars or as a line."""
    at = _Canvas("plots", index)
    at.width, at.height = 360, 270
    draw = at.begin((255, 255, 255))
    left, top, right, bottom = (_FINER * side for side in (40, 30, 340, 230))
    for y in np.linspace(top, bottom, 6):
        draw.line((left, y, right, y), (210, 210, 210), 1)
    draw.line((left, top, left, bottom, right, bottom), (0, 0, 0), 2)
    at.text(0.3, 0.05, _words(at.family, 2), 0.05, (20, 20, 20))
    colour = _HUES[at.family.integers(len(_HUES))]
    values = at.own.uniform(0.1, 0.95, 10)
    x = np.linspace(left + 30, right - 30, 10)
    y = bottom - values * (bottom - top)
    if at.family.integers(2):
        draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), colour, 4)
    else:
        for one, height in zip(x.tolist(), y.tolist(), strict=True):
            draw.rectangle((one - 20, height, one + 20, bottom), colour)
    return at.end()


def screens(index: int) -> Image.Image:
    """Screenshots of one program: bars and buttons in one layout, other text and other pictures in it."""
    at = _Canvas("screens", index)
    at.width, at.height = 480, 320
    draw = at.begin((236, 238, 241))
    draw.rectangle((0, 0, at.width * _FINER, 28 * _FINER), (45, 60, 90))
    draw.rectangle((0, 28 * _FINER, 90 * _FINER, at.height * _FINER), (210, 215, 222))
    at.text(0.02, 0.045, _words(at.family, 2), 0.05, (255, 255, 255))
    for y in np.linspace(0.16, 0.7, 7):
        at.text(0.02, float(y), _words(at.family, 1), 0.04, (40, 40, 40))
    for i in range(3):
        x = (110 + 120 * i) * _FINER
        colour = tuple(int(level) for level in at.own.integers(40, 220, 3))
        draw.rectangle((x, 45 * _FINER, x + 100 * _FINER, 130 * _FINER), colour)
        at.text(0.24 + 0.25 * i, 0.46, _words(at.own, 2)[:12], 0.04, (30, 30, 30))
    for y in np.linspace(0.56, 0.94, 7):
        at.text(0.23, float(y), _words(at.own, 9)[: int(at.own.integers(20, 44))], 0.04, (30, 30, 30))
    return at.end()


def moved(index: int) -> Image.Image:
    """A drawn scene; of a family, one object in another place each."""
    at = _Canvas("moved", index)
    sky, ground, *hues = (tuple(int(level) for level in at.family.integers(30, 230, 3)) for _ in range(7))
    draw = at.begin(sky)
    draw.rectangle((0, at.height * _FINER * 0.6, at.width * _FINER, at.height * _FINER), ground)
    for hue in hues[:4]:
        x, y = at.family.uniform(0.1, 0.9, 2)
        _shape(draw, _SHAPES[at.family.integers(len(_SHAPES))], at.box(x, y, at.family.uniform(0.1, 0.3)), hue)
    _shape(draw, "ellipse", at.box(0.2 + 0.2 * at.member, 0.45, 0.14), (250, 250, 250))
    return at.end()


def hues(index: int) -> Image.Image:
    """A soft picture, like a photograph; of a family, its hues turned by 90 degrees each."""
    at = _Canvas("hues", index)
    coarse = Image.fromarray(at.family.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    image = coarse.resize((at.width, at.height), Image.Resampling.BICUBIC).convert("HSV")
    hue, *rest = image.split()
    turned = Image.fromarray((np.asarray(hue).astype(np.int32) + 64 * at.member).astype(np.uint8))
    return Image.merge("HSV", (turned, *rest)).convert("RGB")


def sheared(index: int) -> Image.Image:
    """A bright picture that was sheared, so that its corners are black: another one each, sheared nearly alike."""
    at = _Canvas("sheared", index)
    coarse = at.own.integers(200, 256, (6, 6, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((at.width, at.height), Image.Resampling.BICUBIC)
    a, b = at.family.choice([-0.15, -0.1, 0.1, 0.15], 2) + at.own.uniform(-0.005, 0.005, 2)
    shear = (1, a, -a * at.height / 2, b, 1, -b * at.width / 2)
    return image.transform(image.size, Image.Transform.AFFINE, shear, Image.Resampling.BICUBIC)


def dot(index: int) -> Image.Image:
    """One of thousands of small figures on one ground: no two have the same shape, colour and place."""
    at = _Canvas("dot", 0)
    at.width = at.height = 128
    draw = at.begin((255, 255, 255))
    place = index // (len(_SHAPES) * len(_HUES))
    x, y = 0.2 + 0.6 * (place % 10) / 9, 0.2 + 0.6 * (place // 10 % 10) / 9
    _shape(draw, _SHAPES[index % len(_SHAPES)], at.box(x, y, 0.2), _HUES[index // len(_SHAPES) % len(_HUES)])
    return at.end()


# By the names that tables have.
KINDS: dict[str, Callable[[int], Image.Image]] = {
    "small figures": figures,
    "shapes in colours": places,
    "logos": logos,
    "icons": icons,
    "letters": characters,
    "numbers": numbers,
    "thin lines": lines,
    "text pages": documents,
    "forms": forms,
    "plots": plots,
    "screenshots": screens,
    "moved objects": moved,
    "other hues": hues,
    "sheared": sheared,
}
