#!/bin/sh
# Runs fallline's checks, benchmarks and tests on this machine, and leaves what they say in one folder. Needs sh,
# coreutils and tar, and writes nowhere but into that folder.

usage="Usage: ./run [--quick] [--width FRACTION] [-o FOLDER]

  --quick           what takes a few minutes on a GPU: a part of the checks, of the models and of the tests
  --width FRACTION  smaller models for the benchmarks, as \`fallline bench\` has them, for a driver in software
  -o FOLDER         where the report goes, and FOLDER.tar.gz beside it [default: report]

WGPU_ADAPTER_NAME and WGPU_BACKEND choose the adapter. It ends with 0 if all went well, 1 if anything did not,
and 2 for wrong usage."

set -u
here=$(cd "$(dirname "$0")" && pwd) || exit 1
quick=
width=1
report=report
while [ $# -gt 0 ]; do
    case $1 in
        --quick) quick=1 ;;
        --width) [ $# -gt 1 ] || { echo "$usage" >&2; exit 2; }; width=$2; shift ;;
        -o) [ $# -gt 1 ] || { echo "$usage" >&2; exit 2; }; report=$2; shift ;;
        -h|--help) echo "$usage"; exit 0 ;;
        *) echo "$usage" >&2; exit 2 ;;
    esac
    shift
done
if [ -e "$report" ]; then
    echo "run: $report is there already: give another with -o, or remove it" >&2
    exit 2
fi
mkdir -p "$report/scratch" && report=$(cd "$report" && pwd) || exit 1

# Where tests find what cargo would tell them.
export CARGO_BIN_EXE_fallline="$here/fallline" CARGO_TARGET_TMPDIR="$report/scratch" TMPDIR="$report/scratch"
# Mesa's device-select layer complains where there is no display.
export NODEVICE_SELECT=1 RUST_BACKTRACE=1 LC_ALL=C

summary="$report/summary.txt"
say() {
    echo "$*"
    echo "$*" >>"$summary"
}

# The loader of Vulkan drivers: the machine's own, else ours.
loader=
for folder in /lib /lib64 /usr/lib /usr/lib64 /usr/local/lib /lib/*-linux-gnu* /usr/lib/*-linux-gnu* /run/opengl-driver/lib; do
    [ -e "$folder/libvulkan.so.1" ] && loader=$folder
done
if [ -z "$loader" ]; then
    loader="$here/lib"
    export LD_LIBRARY_PATH="$loader${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
fi

total=0
bad=
# step NAME SECONDS COMMAND...: runs it for so long at most, with a log of its name.
step() {
    name=$1
    limit=$2
    shift 2
    log="$report/$name.log"
    echo "-- $name: $*"
    echo "\$ $*" >"$log"
    begun=$(date +%s)
    timeout -k 10 "$limit" "$@" >>"$log" 2>&1 </dev/null
    code=$?
    total=$((total + 1))
    found=
    while IFS= read -r line; do
        case $line in
            "test result: "*|"pass: "*|"fail: "*|"fallline: "*) found=$line ;;
        esac
    done <"$log"
    case $code in
        0) verdict="ok        " ;;
        124|137) verdict="TOO LONG  " ;;
        *) verdict="FAILED $code " ;;
    esac
    [ "$code" -eq 0 ] || bad="$bad $name"
    say "$verdict $(($(date +%s) - begun)) s  $name  $found"
    [ "$code" -eq 0 ] || tail -n 20 "$log"
}

# tests NAME PACKAGE [OPTIONS]: a test binary, in the folder that its package has in the repository. Examples are not in here.
tests() {
    name=$1
    package="$here/files/$2"
    shift 2
    CARGO_MANIFEST_DIR=$package
    export CARGO_MANIFEST_DIR
    cd "$package" || exit 1
    step "test-$name" 3600 "$here/tests/deps/$name" --skip examples:: "$@"
    cd "$report" || exit 1
}

# bench NAME OPTIONS...: rows as JSON beside the log.
bench() {
    name=$1
    shift
    step "bench-$name" 1800 "$here/fallline" bench --width "$width" --json "bench-$name.json" "$@"
}

cd "$report" || exit 1
say "fallline on $(uname -srm), $(date -u '+%Y-%m-%d %H:%M UTC')${quick:+, --quick}"
say "$("$here/fallline" --version 2>&1), Vulkan loader in $loader"

step info 120 "$here/fallline" info --json info.json
if [ -n "$quick" ]; then
    step check 900 "$here/fallline" check --quick --json check.json --html check.html
    bench models --model gpt2-small,many-small --steps 8 --no-baselines
    bench mixed --model gpt2-small --steps 8 --no-baselines --clip 1 --loss-scale dynamic
    tests reference-unit crates/reference
    tests golden crates/reference
    tests library . --skip kernel::
    tests checkpoint-unit crates/checkpoint
    tests checkpoint crates/checkpoint golden:: files::
    tests binary crates/cli
    tests cli crates/cli info:: names:: replay:: train_config:: usage::
    tests engine . arena:: borrowed:: norm:: errors::
else
    step check 3600 "$here/fallline" check --all --json check.json --html check.html
    bench models --model gpt2-small,resnet50,vit-b16,many-small,one-big --rule adamw,lion,lamb,adafactor
    bench borrowed --model gpt2-small,many-small --no-baselines --borrowed
    bench mixed --model gpt2-small --no-baselines --clip 1 --loss-scale dynamic
    bench int8 --model gpt2-small --no-baselines --state int8
    bench bf16 --model gpt2-small --no-baselines --param bf16 --master remainder --state companded
    bench rules --all-rules
    bench memory --memory
    bench moving --borrowed --moving
    tests reference-unit crates/reference
    tests golden crates/reference
    tests library .
    tests checkpoint-unit crates/checkpoint
    tests checkpoint crates/checkpoint
    tests binary crates/cli
    # Without those that let a driver fail: they need a C compiler.
    tests cli crates/cli --skip faults::
    tests wgpu_log .
    tests engine . --skip recovery::
fi

if [ -z "$bad" ]; then
    say "verdict: all $total steps went well"
else
    say "verdict: of $total steps these did not go well:$bad"
fi
rm -rf "$report/scratch"
cd "$(dirname "$report")" || exit 1
base=$(basename "$report")
if tar -czf "$base.tar.gz" "$base" 2>/dev/null; then
    echo "All of it is in $report, and in $report.tar.gz, to send."
else
    # Where there is no gzip.
    rm -f "$base.tar.gz"
    tar -cf "$base.tar" "$base" && echo "All of it is in $report, and in $report.tar, to send."
fi
[ -z "$bad" ]
