#!/bin/sh
# Usage: dataset/get_dataset_AiProducts.sh [COPY [OUT]]
# Prepares a copy of AliProducts that you have; there is no longer a place to download it from.
set -eu

here=$(cd "$(dirname "$0")" && pwd)

explain() {
    cat >&2 <<TEXT
AliProducts (Alibaba, 2020: 50,030 classes, about 2.5 million pictures) is no longer published.
The official page has been removed (reported in 2025, PaddleClas issue 3375), and its terms do not allow
others to pass the data on. This script downloads nothing.

If you have a copy, lay it out as it was published:

    COPY/train.json  COPY/val.json      {"images": [{"image_id": "1849756.jpg", "class_id": "00042"}, ...]}
    COPY/test.json                      {"images": [{"image_id": "..."}, ...]}
    COPY/train/<class_id>/<image_id>    COPY/val/<class_id>/<image_id>    COPY/test/<image_id>

and prepare it (no picture is copied, the annotations refer to COPY):

    shelfmark prepare aliproducts --source COPY --out $here/AiProducts

which is what \`$0 COPY\` runs. It prints the options that a run needs.

Without a copy, the whole of Shelfmark runs on the generated shop (\`make demo\`), on the Grocery Store Dataset
(\`shelfmark prepare grocery\`) and on your own folders of pictures (\`shelfmark prepare folder\`).
TEXT
    exit 1
}

[ $# -ge 1 ] || explain
if [ ! -f "$1/train.json" ]; then
    echo "$1 holds no train.json, so it is not a copy of AliProducts." >&2
    echo >&2
    explain
fi

shelfmark=$here/../.venv/bin/shelfmark
[ -x "$shelfmark" ] || shelfmark=shelfmark
exec "$shelfmark" prepare aliproducts --source "$1" --out "${2:-$here/AiProducts}"
