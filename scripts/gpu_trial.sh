#!/usr/bin/env bash
# What only a GPU can show, in one call of at most eight minutes: the tests marked gpu, the benchmarks of losses and of
# retrieval, and a training of ResNet-50 in bfloat16 with two losses. Its figures belong into docs/status.md.
#
#   scripts/gpu_trial.sh OUT           on a machine with a GPU
#   scripts/gpu_trial.sh --tiny OUT    tries this script on a CPU, with tiny sizes: none of its figures means anything
#
# OUT gets summary.md, a log of each part and the benchmarks' pages. A part that fails or runs too long does not end the
# others; the exit status is 1 then.
# PYTHON: the interpreter (default: .venv/bin/python if there is one, else python3). WHEELS: a folder of wheels from
# which what that Python lacks is installed into OUT, without a network.
set -uo pipefail
cd "$(dirname "$0")/.."

tiny=false
if [ "${1:-}" = --tiny ]; then
    tiny=true
    shift
fi
if [ $# -ne 1 ]; then
    echo "usage: scripts/gpu_trial.sh [--tiny] OUT" >&2
    exit 2
fi
mkdir -p "$1" || exit 2
out=$(cd "$1" && pwd)
python=${PYTHON:-$([ -x .venv/bin/python ] && echo "$PWD/.venv/bin/python" || echo python3)}
export PYTHONPATH="$PWD/lib${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1

if [ -n "${WHEELS:-}" ]; then
    # Beside what is there, not over it: torch and its companions stay those of the machine.
    "$python" -m pip install --quiet --no-index --no-deps --target "$out/packages" "$WHEELS"/*.whl || exit 2
    export PYTHONPATH="$PYTHONPATH:$out/packages"
fi
if ! missing=$("$python" -c '
import importlib.util
names = "torch timm faiss pydantic orjson yaml safetensors tensorboard rich matplotlib pytest hypothesis filelock".split()
print(*[name for name in names if importlib.util.find_spec(name) is None])'); then
    exit 2
fi
if [ -n "$missing" ]; then
    echo "error: $python lacks: $missing. Put their wheels into a folder and name it: WHEELS=FOLDER $0 ..." >&2
    exit 2
fi
if ! $tiny && ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "error: there is no GPU here. --tiny tries the script on a CPU." >&2
    exit 2
fi

failed=0
{
    echo "# Trial on a GPU"
    echo
    "$python" -c '
import time, torch
gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU: nothing here means anything"
print(f"{gpu}; torch {torch.__version__};", time.strftime("%Y-%m-%d"))
print("\n| part | result | seconds |\n|---|---|---:|")'
} > "$out/summary.md"

# part NAME LIMIT_S COMMAND...: runs the command, with its output in NAME.log, and adds a row to the summary.
part() {
    local name=$1 limit=$2 started=$SECONDS status=0 result
    shift 2
    timeout -k 20 "$limit" "$@" > "$out/$name.log" 2>&1 || status=$?
    case $status in
        0) result=done ;;
        124) result="ended after its $limit seconds" ;;
        *) result="failed (exit status $status)" ;;
    esac
    [ $status -eq 0 ] || failed=1
    result="$result: $(tail -n 1 "$out/$name.log" | tr '|' '/' | cut -c1-200)"
    echo "| $name | $result | $((SECONDS - started)) |" | tee -a "$out/summary.md"
}

if $tiny; then
    shop=(data.input_size_px=32 train.batch_size=8 train.steps_per_epoch=3 train.precision=bf16 model.backbone=resnet18)
    device=(train.device=cpu)
    rounds=1 scale=0.002
else
    shop=(data.input_size_px=224 train.batch_size=256 train.steps_per_epoch=60 train.precision=bf16 model.backbone=resnet50)
    device=(train.device=cuda data.num_workers=8)
    rounds=6 scale=1.0
fi
training=(--config "$PWD/configs/shop.yaml" name=gpu_trial train.num_epochs=2 optim.schedule.warmup_epochs=0
    "${shop[@]}" "${device[@]}" "model.heads={rank: {dim: 128}}"
    "losses=[{name: cross_entropy}, {name: smooth_ap, head: rank, weight: 0.5}]")

part tests 150 "$python" -m pytest -m gpu -q
part losses 100 "$python" benchmarks/bench_losses.py --part gpu --repeats $rounds --out "$out/losses.md"
part retrieval 60 "$python" benchmarks/bench_retrieval.py --part gpu --scale $scale --out "$out/retrieval.md"
# The shop that it generates lands in OUT.
part training 170 env -C "$out" "$python" "$PWD/main.py" "${training[@]}"
rm -rf "$out/dataset" "$out/packages"
exit $failed
