#!/bin/sh
# Every quantization of the embedded critic, judged and reported: the raw verdicts behind
# docs/reports/embedded-ladder.
#
#     scripts/embedded_ladder.sh FOLDER
#
# Takes about 20 minutes with a GPU and 22 cores, and most of a day on two cores. It goes
# on where it was stopped; FOLDER/ladder/arms holds a line for every verdict. JOBS are processes at
# a time; QUANTS, IQUANTS, TQUANTS, TOWER and ONNX are types without an importance matrix, with one,
# with one of text alone, with a tower of eight bits, and of ONNX; ITEMS, ROWS, ATTACKS and
# CALIBRATION say how much is judged, and looked at for the matrices.
set -eu
work=${1:?name a folder}
: "${JOBS:=$(nproc)}" "${ITEMS:=300}" "${ROWS:=2000}" "${ATTACKS:=100}" "${CALIBRATION:=64}"
: "${QUANTS:=F16,Q8_0,Q6_K,Q5_K_M,Q4_K_M,Q4_0,IQ4_XS,Q3_K_M,Q2_K}"
: "${IQUANTS:=Q6_K,Q5_K_M,Q4_K_M,Q4_0,IQ4_XS,Q3_K_M,Q2_K}" "${TQUANTS:=Q4_K_M,Q3_K_M,Q2_K}"
: "${TOWER:=F16,Q4_K_M}" "${ONNX:=fp32,fp16,q8,q4}"
# What is called full precision shall be that on a GPU, too.
export NVIDIA_TF32_OVERRIDE=0

sets=$work/sets bundles=$work/bundles
mkdir -p "$sets" "$bundles"
[ -f "$work/assets/assets-test.zip" ] ||
    edgecritic train assets build --cache "$work/cache" --out "$work/assets"
items() { # name, split, seed, how many
    [ -f "$sets/$1/items.jsonl" ] || edgecritic train items --split "$2" --seed "$3" --n "$4" \
        --assets "$work/assets/assets-train.zip" "$work/assets/assets-test.zip" --out "$sets/$1"
}
for split in T0 T1 T2; do items $split $split 7 "$ITEMS"; done
items calibration T0 1009 "$CALIBRATION"
items verification T1 1013 24
[ -f "$work/checkpoint/model.safetensors" ] ||
    edgecritic train hf embedded --out "$work/checkpoint"

importance() { # name, options
    name=$1 && shift
    [ -f "$work/$name.gguf" ] || edgecritic export imatrix "$work/checkpoint" --device cpu \
        --items "$sets/calibration" --limit "$CALIBRATION" --out "$work/$name.gguf" "$@"
}
bundle() { # name, options; a bundle that is off its limits is judged all the same
    name=$1 && shift
    edgecritic export all "$work/checkpoint" --out "$bundles/$name" --licence Apache-2.0 \
        --rows "$sets/verification" --limit 24 "$@" || [ -d "$bundles/$name" ]
}
importance imatrix
importance text --text-only
bundle plain --quants "$QUANTS"
bundle imatrix --quants "$IQUANTS" --imatrix "$work/imatrix.gguf"
bundle text --quants "$TQUANTS" --imatrix "$work/text.gguf"
bundle tower --quants "$TOWER" --mmproj Q8_0
bundle onnx --onnx "$ONNX"

exec edgecritic bench quantization --bundles "$bundles" --reference "$work/checkpoint" \
    --data "$sets/T0" "$sets/T1" "$sets/T2" --pairs "$ROWS" --scores "$ROWS" \
    --attacks "$ATTACKS" --attack-arms 'gguf F16' 'gguf Q8_0' 'gguf Q4_K_M' 'gguf Q2_K' 'onnx*' \
    --out "$work/ladder" --jobs "$JOBS" --threads 1 --parts 4
