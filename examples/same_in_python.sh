#!/bin/sh
# Embeds pictures of all kinds here and in Python, and compares: examples/same_in_python.sh SIAMESE PYTHON
set -eu
siamese=$(realpath "$1") python=$2 here=$(dirname "$0")
case $python in */*) python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python") ;; esac
here=$(cd "$here" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
"$siamese" data draw ink --characters 6 --drawers 3
"$siamese" data draw large --characters 3 --drawers 2 --size 301
"$siamese" data draw coloured --characters 3 --drawers 2 --size 150 --colour
# Light on dark, transparent paper, transparent ink, one tone, wider than high.
"$python" - <<'PYTHON'
from PIL import Image, ImageOps
one = Image.open("large/character01/01.png").convert("L")
ImageOps.invert(one).save("inverted.png")
Image.merge("LA", (Image.new("L", one.size, 0), ImageOps.invert(one))).save("on-nothing.png")
Image.merge("LA", (Image.new("L", one.size, 255), one)).save("light-on-nothing.png")
Image.new("L", (40, 30), 77).save("one-tone.png")
one.crop((0, 60, 301, 170)).save("wide.bmp")
one.crop((100, 0, 190, 301)).convert("RGB").save("high.webp", lossless=True)
one.point(lambda level: 90 + level // 3).save("pale.png")
PYTHON
pictures="ink/*/*.png large/*/*.png coloured/*/*.png *.png *.bmp *.webp"
for tower in omniglot-edge-exact omniglot-edge; do
    "$siamese" export $tower
done
# The square of these lies around the ink, that of the next around the whole picture.
for tower in omniglot-edge-exact.onnx omniglot-edge.onnx "$here/../onnx/glyphs-demo/tower.exact.onnx"; do
    "$siamese" embed "$tower" $pictures --out out.npy
    "$python" "$here/embed.py" "$tower" $pictures --same-as out.npy
done
