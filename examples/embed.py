#!/usr/bin/env python3
"""Embeds pictures with a siamese tower in Python: onnxruntime runs the tower, and its own metadata say how a picture
becomes its input. Towers of ink are done in full here, in the same integers as `siamese` does it (src/image/ink.rs),
so that a picture gives the same input byte for byte.

    pip install onnxruntime numpy pillow
    siamese export omniglot-edge-exact
    python examples/embed.py omniglot-edge-exact.onnx a.png b.png

With --same-as FILE.npy (from `siamese embed TOWER a.png b.png -o FILE.npy`) it compares: an exact tower must give
the same bits, a float tower the same numbers to within 1e-5 of their scale. The exit code is 1 where it does not.
"""

import argparse
import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

FLOAT_TOLERANCE = 1e-5


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("tower")
    arguments.add_argument("pictures", nargs="+")
    arguments.add_argument("--same-as", metavar="FILE.npy")
    asked = arguments.parse_args()

    session = onnxruntime.InferenceSession(asked.tower, providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    how = json.loads(told["siamese.preprocessing"])
    if how["kind"] != "ink":
        sys.exit(f"{asked.tower} takes {how}; this example makes ink")
    images = np.stack([ink(path, how["size"], how["polarity"], how.get("frame", "picture")) for path in asked.pictures])
    rows = session.run(["embedding"], {"image": images})[0]

    if asked.same_as is None:
        for path, row in zip(asked.pictures, rows):
            print(json.dumps({"source": path, "embedding": row.tolist()}))
        return
    other = np.load(asked.same_as)
    if other.shape != rows.shape:
        sys.exit(f"{asked.same_as} holds {other.shape}, the tower gives {rows.shape}")
    if told["siamese.kind"] == "exact":
        same, words = rows.tobytes() == other.tobytes(), "every bit"
    else:
        far = np.abs(rows - other).max() / np.sqrt((other**2).mean())
        same, words = far <= FLOAT_TOLERANCE, f"all numbers to {far:.1e} of their scale"
    print(f"{len(rows)} embeddings of {rows.shape[1]} numbers: {words if same else 'DIFFERENT'}")
    sys.exit(0 if same else 1)


def ink(path, size, polarity, frame):
    """uint8 [1, S, S]: 0 is paper, 255 the darkest ink."""
    levels = stretched(grey(path, polarity), polarity)
    height, width = levels.shape
    if frame == "ink":
        return framed(levels, size)[None]
    longest = max(width, height)
    w, h = (min(max((2 * side * size + longest) // (2 * longest), 1), size) for side in (width, height))
    square = np.zeros((size, size), np.uint8)
    left, top = (size - w) // 2, (size - h) // 2
    square[top : top + h, left : left + w] = averaged(levels, whole(height, h), whole(width, w))
    return square[None]


def grey(path, polarity):
    """Rec. 601 luma in 16-bit fixed point; what is transparent gets the tone of the paper."""
    picture = ImageOps.exif_transpose(Image.open(path))
    if picture.mode in ("L", "1"):
        return np.asarray(picture.convert("L"), np.int64)
    red, green, blue, alpha = np.moveaxis(np.asarray(picture.convert("RGBA"), np.int64), -1, 0)
    luma = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
    paper = 255 if transparent_is_white(luma, alpha, polarity) else 0
    return (luma * alpha + paper * (255 - alpha) + 127) // 255


def transparent_is_white(luma, alpha, polarity):
    if polarity != "auto":
        return polarity == "dark"
    edge, opacity = border(luma * alpha), border(alpha)
    if 2 * opacity.sum() >= 255 * opacity.size:
        return bool(edge.sum() >= 128 * opacity.sum())
    return bool((luma * alpha).sum() < 128 * alpha.sum())


def border(levels):
    """The outermost ring of pixels, each once."""
    ring = np.ones(levels.shape, bool)
    ring[1:-1, 1:-1] = False
    return levels[ring]


def stretched(levels, polarity):
    """Grey → ink: the difference from the paper's tone, so that paper is 0 and the opposite end of the scale 255."""
    lowest, highest = int(levels.min()), int(levels.max())
    middle = (lowest + highest + 1) // 2
    if lowest == highest:
        light, tone = {"auto": (lowest >= 128, lowest), "dark": (True, 255), "light": (False, 0)}[polarity]
    else:
        edge = np.sort(border(levels))
        light = {"auto": 2 * (edge >= middle).sum() >= edge.size, "dark": True, "light": False}[polarity]
        side = edge[(edge >= middle) == light]
        # The lower median of the paper's side; the extreme where the border has nothing of it.
        tone = int(side[(side.size - 1) // 2]) if side.size else (highest if light else lowest)
    span = max(tone if light else 255 - tone, 1)
    away = np.maximum(tone - levels if light else levels - tone, 0)
    return np.minimum((away * 255 + span // 2) // span, 255)


def framed(levels, size):
    """The square around the ink: its longer side takes 13/16, unless it is shorter than a quarter of the picture."""
    height, width = levels.shape
    if levels.max() == 0:
        return np.zeros((size, size), np.uint8)
    marks = 10 * levels >= 3 * levels.max()
    (left, right), (top, bottom) = inner(marks.sum(0)), inner(marks.sum(1))
    longest = max(right - left, bottom - top, -(-max(width, height) // 4))
    across = around(left + right, longest, width, size)
    return averaged(levels, around(top + bottom, longest, height, size), across)


def inner(marks):
    """The shortest range outside of which, on each side, lies at most a thousandth of all marks."""
    spare = marks.sum() // 1000
    before = int((np.cumsum(marks) <= spare).sum())
    after = int((np.cumsum(marks[::-1]) <= spare).sum())
    return before, len(marks) - after


def whole(source, targets):
    return weights(source, targets, targets, 0, source)


def around(twice_centre, longest, source, size):
    start = 13 * size * twice_centre - 16 * size * longest
    return weights(source, size, 2 * 13 * size, start, 2 * 16 * longest)


def weights(source, targets, unit, start, length):
    """How much of each source pixel lies under each target pixel, in units of which a source pixel has `unit`; and
    the length of a target."""
    begins = start + np.arange(targets)[:, None] * length
    places = np.arange(source)[None, :] * unit
    overlap = np.minimum(begins + length, places + unit) - np.maximum(begins, places)
    return np.maximum(overlap, 0).astype(np.int64), length


def averaged(levels, down, across):
    """Exact averages of areas, to the nearest; what is beside the picture counts as 0."""
    (rows, height), (columns, width) = down, across
    area = height * width
    return ((rows @ levels @ columns.T + area // 2) // area).astype(np.uint8)


if __name__ == "__main__":
    main()
