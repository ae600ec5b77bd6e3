#!/usr/bin/env bash
# On a machine with a GPU: the tests, then speed, memory and the device's share of work on a full
# product's worth of pixels. About ten minutes; results in the folder given, default ./gpu-results.
#   bash tests/gpu/run.sh [OUT] [SIZE]      SIZE in 10 m pixels, default 10980
# GEOSR_TEST_DEVICE=cpu bash tests/gpu/run.sh out 240 rehearses it.
set -euo pipefail
out=${1:-gpu-results} size=${2:-10980} device=${GEOSR_TEST_DEVICE:-cuda:0}
mkdir -p "$out"
python3 -m pytest -q -m gpu tests/gpu 2>&1 | tee "$out/tests.txt" || true
if [ "$device" != cpu ]; then
  nvidia-smi --query-gpu=utilization.gpu,memory.used --format=csv -lms 200 > "$out/busy.csv" &
  trap 'kill %1' EXIT
fi
for net in dsen2-ps dsen2; do
  for precision in bf16 fp16; do
    geosr bench --size "$size" --model "$net" --device "$device" --precision "$precision" --json \
      > "$out/bench-$net-$precision.json" || true
  done
done
geosr bench --size "$size" --device "$device" --compile --json > "$out/bench-compiled.json" || true
