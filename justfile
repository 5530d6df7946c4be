# Everything that CI runs.
check:
    bash .ci/run

# All tests; arguments go to cargo-nextest, e.g. `just test -p keyhaven-fve`.
test *arguments:
    scripts/test {{ arguments }}

# Builds keyhaven.exe and runs it under Wine beside the program of this computer.
windows:
    scripts/test-windows

# Makes the release archives.
dist *arguments:
    cargo run --locked -p xtask -- dist {{ arguments }}

# Formats the code and applies what clippy can.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

# Fuzzes each target for some seconds, or only the named ones.
fuzz seconds='60' *targets:
    scripts/fuzz {{ seconds }} {{ targets }}

# Measures speed; arguments choose benchmarks.
bench *arguments:
    cargo bench --workspace {{ arguments }}

# Measures whole programs beside their peers; arguments as benches/compare takes them.
compare *arguments:
    cargo build --release --locked -p keyhaven -p keyhaven-fve -p keyhaven-attach --bins --examples
    benches/compare {{ arguments }}

# Checks licences, sources and duplicates of the dependencies.
deny:
    cargo deny check bans licenses sources

# Fetches real volumes to test with.
samples:
    scripts/fetch-samples --all
