"""Command lines to begin with: `shelfmark COMMAND --help` ends with those of the command."""

from __future__ import annotations

_BEST = "--RESUME_MODEL log/shop/best_model"

EXAMPLES: dict[str, tuple[str, ...]] = {
    "train": (
        "shelfmark train --images photographs",
        "shelfmark train --config grocery",
        "shelfmark train --config grocery name=mine train.num_epochs=20 optim.lr=0.05",
        "shelfmark train --RESUME_MODEL log/mine/last",
        "shelfmark train --config grocery --check overfit",
    ),
    "plan": ("shelfmark plan --config grocery", "shelfmark plan --config grocery --memory 16GB train.batch_size=256"),
    "doctor": (
        "shelfmark doctor --config grocery",
        "shelfmark doctor --config grocery --model tf_efficientnet_lite0",
        f"shelfmark doctor --config shop {_BEST} --fix",
    ),
    "shrink": (
        "shelfmark shrink --config grocery --size 320",
        "shelfmark shrink --config mine.yaml --size 320 --out /ssd/mine_320",
    ),
    "demo": ("shelfmark demo",),
    "test": (
        f"shelfmark test {_BEST}",
        f"shelfmark test {_BEST} --images photographs --topk 5 --tta flip",
    ),
    "ensemble": ("shelfmark ensemble log/a/topk.csv log/b/topk.csv --weights 2 1 --out both.csv",),
    "weigh-experts": ("shelfmark weigh-experts --RESUME_MODEL log/experts/best_model --images photographs",),
    "pseudo-label": (
        f"shelfmark pseudo-label {_BEST} --images photographs --min-confidence 0.95 --with-train --out more.json",
    ),
    "evaluate": (
        f"shelfmark evaluate {_BEST}",
        f"shelfmark evaluate {_BEST} --post flip alpha_qe --verification",
    ),
    "compare": (
        "shelfmark compare log/a log/b",
        "shelfmark compare log/a log/b log/c --out comparison.html",
        "shelfmark compare log/now log/new --require 'mean_class_accuracy >= -0.5%' --require 'few >= 60%'",
    ),
    "report": ("shelfmark report log/shop", "shelfmark report log/shop --out page"),
    "calibrate": (
        f"shelfmark calibrate {_BEST}",
        f"shelfmark calibrate {_BEST} --method tau_norm,temperature calibrate.folds=10",
    ),
    "tau-norm": (f"shelfmark tau-norm {_BEST} tau_norm.stop=2",),
    "embed": (
        f"shelfmark embed {_BEST} --split val --out features/val",
        f"shelfmark embed {_BEST} --images photographs --out features/photographs",
        f"shelfmark embed {_BEST} --split train --out features/train --runner ray",
    ),
    "clean": (f"shelfmark clean {_BEST} --min-suspicion 0.8",),
    "grow": (f"shelfmark grow {_BEST} --images new_products --out log/shop/grown",),
    "export": (
        f"shelfmark export {_BEST} --out export",
        f"shelfmark export {_BEST} --out export_int8 --precision int8 --index index",
    ),
    "export verify": ("shelfmark export verify export", "shelfmark export verify export --images photographs"),
    "push": (
        "shelfmark push log/shop/best_model me/shop",
        "shelfmark push log/shop/best_model file:///models/shop",
    ),
    "pull": ("shelfmark pull me/shop --out models/shop", "shelfmark pull file:///models/shop"),
    "index build": (
        f"shelfmark index build {_BEST} --out index",
        f"shelfmark index build {_BEST} --images products --label-from folder --out index",
        f"shelfmark index build {_BEST} --out index --store milvus://shop.db",
    ),
    "index add": ("shelfmark index add --index index --images new_product --label 90 --class-name 'Oat milk'",),
    "index remove": ("shelfmark index remove --index index --labels 90",),
    "index info": ("shelfmark index info --index index",),
    "index verify": ("shelfmark index verify index", "shelfmark index verify index --queries features/val"),
    "index compact": ("shelfmark index compact index",),
    "index export": ("shelfmark index export --index index --format parquet --out vectors.parquet",),
    "index search": ("shelfmark index search --index index photo.jpg",),
    "search": (
        "shelfmark search --index index photo.jpg",
        "shelfmark search --index index photographs --k 20 --json",
        "shelfmark search --index index photo.jpg --where 'year>=2020'",
    ),
    "recognise": (
        "shelfmark recognise --index index photo.jpg --topk 3",
        "shelfmark recognise --index index photo.jpg --explain --out why",
        "shelfmark recognise --index index shelf.jpg --boxes boxes.json --out counted",
    ),
    "explain": (
        f"shelfmark explain photo.jpg {_BEST}",
        f"shelfmark explain photographs {_BEST} --index log/shop/index --out why",
    ),
    "thresholds": (
        f"shelfmark thresholds {_BEST} --index log/shop/index --max-wrong 1% --confidence 95%",
        f"shelfmark thresholds {_BEST} --index log/shop/index --images photographs --max-false-accept 10%",
    ),
    "thresholds check": (f"shelfmark thresholds check {_BEST} --index log/shop/index --images new_photographs",),
    "serve": (
        "shelfmark serve --model exported --index index",
        f"shelfmark serve {_BEST} --index index --port 8080",
    ),
    "discover": (
        "shelfmark discover --config discovery/shop --smoke",
        "shelfmark discover --config discovery/shop --review discovery.rounds=3",
    ),
    "discover assign": ("shelfmark discover assign --run log/discovery_shop photo.jpg --out answers.csv",),
    "cluster fit": ("shelfmark cluster fit --embeddings features/train --out clusterer",),
    "cluster run": ("shelfmark cluster run --clusterer clusterer --embeddings features/val --out clusters",),
    "prepare": (
        "shelfmark prepare folder --source photographs --out dataset/mine",
        "shelfmark prepare sop --source Stanford_Online_Products --out dataset/sop",
    ),
    "to-lance": ("shelfmark to-lance --config grocery --out grocery.lance",),
    "migrate": ("shelfmark migrate 'python main.py --dataset vehicle_id --loss smoothap --bs 384'",),
    "config": (
        "shelfmark config --list",
        "shelfmark config --config grocery optim.lr=0.05 > mine.yaml",
        "shelfmark config --describe optim",
    ),
    "completion": ('eval "$(shelfmark completion bash)"',),
}
