#!/bin/sh
# What `pip install .` gives a user: builds the source package and from it the wheel, installs that into an environment
# of its own, and uses it outside the checkout. scripts/try_wheel.sh PYTHON; the packages of PYTHON serve both.
set -eu
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
checkout=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# From a copy, so that nothing of the build stays here.
(cd "$checkout" && tar -cf - LICENSE README.md pyproject.toml configs lib) | (mkdir "$work/source" && cd "$work/source" && tar -xf -)
cd "$work/source"
"$python" -c "from setuptools import build_meta; build_meta.build_sdist('../built')" >"$work/build.log" 2>&1 ||
    { cat "$work/build.log"; exit 1; }
cd "$work"
"$python" -m pip wheel --quiet --no-deps --no-index --no-build-isolation --wheel-dir built built/*.tar.gz
"$python" -m venv --without-pip fresh
"$python" -m pip --python fresh/bin/python install --quiet --no-deps --no-index built/*.whl
# Behind the installed package; an editable install over there is not followed.
"$python" -c "import sysconfig; print(sysconfig.get_path('purelib'))" >"$(fresh/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/others.pth"

mkdir outside
cd outside
export PYTHONPATH= OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}"
shelfmark=../fresh/bin/shelfmark
case $(../fresh/bin/python -c "import shelfmark; print(shelfmark.__file__)") in
    */fresh/lib/*) ;;
    *) echo "error: the installed package was not imported" >&2; exit 1 ;;
esac
$shelfmark --version
$shelfmark config --list >listed
(cd "$checkout/configs" && find . -name '*.yaml' | sed 's|^\./||; s|\.yaml$||') | while read -r name; do
    grep -q "^  $name " listed || { echo "error: the package lacks configs/$name.yaml" >&2; exit 1; }
done
for file in index.html page.css page.js icon.svg; do
    cmp "$checkout/lib/shelfmark/serving/page/$file" ../fresh/lib/python3.*/site-packages/shelfmark/serving/page/"$file"
done
(cd "$checkout/lib/shelfmark/reports/html/templates" && ls) | while read -r file; do
    cmp "$checkout/lib/shelfmark/reports/html/templates/$file" \
        ../fresh/lib/python3.*/site-packages/shelfmark/reports/html/templates/"$file"
done
$shelfmark config --config grocery | grep -q '^name: grocery '
$shelfmark config --config longtail/crt | grep -q 'fresh/.*configs/shop.yaml:'

../fresh/bin/python - <<'PICTURES'
from pathlib import Path

from PIL import Image

for place, colour in enumerate(("red", "green", "blue")):
    folder = Path("pictures", colour)
    folder.mkdir(parents=True)
    for number in range(8):
        Image.new("RGB", (40, 40), tuple(20 * number if one == place else 200 for one in range(3))).save(folder / f"{number}.png")
PICTURES
use=$($shelfmark prepare folder --source pictures --out mine | sed -n 's/^Use it with: .*shelfmark train //p')
eval "$shelfmark train $use name=mine model.backbone=test_resnet model.weights= data.input_size_px=32 data.num_workers=0 \
    train.batch_size=4 train.num_epochs=1" >train.log 2>&1 || { cat train.log; exit 1; }
$shelfmark test --RESUME_MODEL log/mine/best_model --images pictures --out answers.csv >/dev/null
test "$(wc -l <answers.csv)" = 25
echo "the package was built, installed, and trained and predicted outside the checkout"
