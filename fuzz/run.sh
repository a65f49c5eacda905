#!/usr/bin/env bash
# Runs the fuzz targets one after the other. What they find in passing stays in fuzz/target/ unless it is to be kept.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'TEXT'
usage: fuzz/run.sh [--keep] [SECONDS] [TARGET...]

  SECONDS   how long each target runs (300)
  TARGET    which targets run (all)
  --keep    afterwards, keep the smallest set of inputs that reaches as much in fuzz/corpus/,
            and add a line to bench/results/fuzz.md

environment:
  CARGO_TARGET_DIR   where targets are built (fuzz/target)
TEXT
}

loudly() {
    printf '\n*** FUZZING DID NOT RUN: %s\n\n' "$*" >&2
    exit 1
}

# Sets `cargo` to a command with cargo-fuzz and a compiler that takes its flags.
find_tools() {
    export PATH="$PWD/.tools/bin:$PATH"
    if ! cargo fuzz --version >/dev/null 2>&1; then
        echo "cargo-fuzz is not here: building it into .tools/ (minutes)"
        # Its objects are of no use to anybody else.
        env -u CARGO_TARGET_DIR cargo install --quiet --locked --root .tools cargo-fuzz ||
            loudly "cargo-fuzz cannot be installed; cargo install cargo-fuzz says why"
    fi
    if cargo +nightly --version >/dev/null 2>&1; then
        cargo=(cargo +nightly)
    else
        # Instrumentation is unstable, and there in every compiler.
        cargo=(env RUSTC_BOOTSTRAP=1 cargo)
    fi
}

# fuzz TARGET: runs it; `log` says how that went.
fuzz() {
    local target=$1 dictionary=head longest=4096
    [[ -e fuzz/dictionaries/$target.dict ]] && dictionary=$target
    # A trailer section may have 8 KiB, and the seed with every word of the configuration has as much.
    [[ $target == chunked_body || $target == configuration ]] && longest=12288
    mkdir -p "$found" "fuzz/corpus/$target" "fuzz/artifacts/$target"
    "${cargo[@]}" fuzz run "$target" "$found" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -dict="fuzz/dictionaries/$dictionary.dict" -max_len="$longest" -timeout=10 \
        -max_total_time="$seconds" >"$log" 2>&1
}

# keep TARGET: replaces its corpus by the smallest that reaches each edge that the old one and the found inputs do.
keep() {
    local target=$1 smallest
    smallest=$(mktemp -d)
    "${cargo[@]}" fuzz run "$target" "$smallest" "$found" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -set_cover_merge=1 -use_counters=0 -timeout=10 >>"$log" 2>&1
    rm -rf "fuzz/corpus/$target"
    mv "$smallest" "fuzz/corpus/$target"
}

# numbers: executions, seconds, edges, features, from the log.
numbers() {
    awk '/^Done [0-9]+ runs/ { runs = $2; took = $5 }
         / cov: / { for (i = 1; i < NF; i++) { if ($i == "cov:") edges = $(i + 1); if ($i == "ft:") features = $(i + 1) } }
         END { printf "%s | %s | %s | %s", took, runs, edges, features }' "$log"
}

record() {
    local target=$1 commit
    commit=$(git describe --always --dirty --abbrev=12)
    echo "| $(date -u +%F) | $target | $line | none | $commit |" >>bench/results/fuzz.md
}

kept=false seconds=300
for argument; do
    case $argument in
        --keep) kept=true ;;
        -h | --help) usage && exit ;;
        *[!0-9]*) targets+=("$argument") ;;
        *) seconds=$argument ;;
    esac
done

find_tools
[[ -v targets ]] || mapfile -t targets < <("${cargo[@]}" fuzz list)
"${cargo[@]}" fuzz build || loudly "the targets cannot be built"
failed=0
for target in "${targets[@]}"; do
    log=fuzz/target/$target.log found=fuzz/target/found/$target
    mkdir -p "$(dirname "$log")"
    printf '\n==> fuzzing %s for %s s\n' "$target" "$seconds"
    if fuzz "$target"; then
        line=$(numbers)
        echo "seconds | executions | edges | features: $line"
        if $kept; then
            record "$target"
            keep "$target"
        fi
    else
        failed=1
        tail -n 40 "$log"
        echo "*** $target HAS A FINDING, or did not run; its input is in fuzz/artifacts/$target/, all that it said in $log"
    fi
done
exit "$failed"
