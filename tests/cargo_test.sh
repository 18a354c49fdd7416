# Read by tests/run, tests/quick and tests/soak, in the folder of the project: runs test programs and counts what came.

target="${CARGO_TARGET_DIR:-$PWD/target}"
log="$target/tests.log"
status=0
mkdir -p "$target"
: > "$log"

# How many tests run at a time; said to the test programs, and needed to tell how long each took. Two for each processor: most
# tests wait for other programs.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$((2 * $(nproc)))}"

# Runs cargo test, and notes each line with the time at which it came.
cargo_test() {
    cargo test --locked --no-fail-fast "$@" 2>&1 | while IFS= read -r line; do
        printf '%s\n' "$line"
        printf '%s %s\n' "$EPOCHREALTIME" "$line" >> "$log"
    done || status=$?
}

# Prints the ten slowest tests and the counts. The counts also go into the file tests.count, the slowest into tests.slowest.
#
# The time that a test took follows from the lines, in every cargo and without a word in a test: a test program starts its
# tests in the order of their names, RUST_TEST_THREADS of them at once and then one at each end.
count_tests() {
    # shellcheck disable=SC2016 # the dollars are awk's
    sed 's/\x1b\[[0-9;]*m//g' "$log" | LC_ALL=C awk -v threads="$RUST_TEST_THREADS" -v count="$target/tests.count" '
        # What one test program came to. Its last result counts: others may stand in what a failed test printed.
        function settle(    i, j, name, start) {
            if (result != "") {
                split(result, words, " ")
                passed += words[4]; failed += words[6]; ignored += words[8]; programs++
            }
            for (i = 1; i <= ended; i++) {
                name = names[i]
                for (j = i - 1; j >= 1 && sorted[j] > name; j--) sorted[j + 1] = sorted[j]
                sorted[j + 1] = name
            }
            for (i = 1; i <= ended; i++) {
                start = i <= threads ? began : ends[i - threads]
                printf "%8.2f s  %s::%s\n", at[sorted[i]] - start, program, sorted[i]
            }
            result = ""; ended = 0; state = "built"
        }
        { time = $1; sub(/^[^ ]* /, "") }
        /^ *Running (unittests )?[a-z]+\/.* \(/ || /^ *Doc-tests / {
            settle()
            program = $0
            sub(/^ *(Running (unittests )?)?/, "", program)
            sub(/ \(.*/, "", program); sub(/^tests\//, "", program); sub(/(\/main)?\.rs$/, "", program)
            sub(/^src\/.*/, "unit", program)
        }
        /^running [0-9]+ tests?$/ && state == "built" { state = "runs"; began = time }
        /^failures:$/ { state = "failed" }
        state == "runs" && /^test .* \.\.\. / {
            name = $0
            sub(/^test /, "", name); sub(/ \.\.\. .*/, "", name); sub(/ - should panic$/, "", name)
            names[++ended] = name; ends[ended] = time; at[name] = time
        }
        /^test result: / { result = $0 }
        END {
            settle()
            printf "%d passed, %d failed, %d ignored, in %d test programs\n", passed, failed, ignored, programs > count
        }' | LC_ALL=C sort -rn | sed -n 1,10p > "$target/tests.slowest"
    echo "the slowest tests:"
    cat "$target/tests.slowest" "$target/tests.count"
}
