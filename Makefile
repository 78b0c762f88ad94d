# Every target does its own set-up first: each works alone on a fresh machine.
.PHONY: build demo test lint race bench goldens soak check-report clean

build:
	@scripts/setup.sh

# The main job on real images: export, train, attack, transfer, compare, report. QUICK=1 takes under a minute.
demo: build
	@bin/sat run experiments/digits$(if $(QUICK),_quick).toml

# All tests, then those of the packages that must also build and pass without cgo.
test: build
	go test -timeout=30m ./...
	CGO_ENABLED=0 go build -o /dev/null ./cmd/sat
	CGO_ENABLED=0 go test -timeout=30m $$(scripts/cgo-free.sh)

race: build
	go test -race -short -timeout=30m ./torch ./zoo ./internal/run ./internal/train ./internal/data/... ./internal/store/... ./analysis

lint:
	@scripts/setup.sh dev
	@scripts/lint.sh

# kill -9 at random moments of the full demo, and of eight of the paper's networks on photographs without labels: the resumed
# run must give the same bytes. Then every recipe of the full-scale studies, with the real architectures, for a few steps.
soak: build
	go test -run 'TestKilledRun|TestFullScaleTrainings' -count=1 -timeout=3h -v -parallel=1 ./cmd/sat -args -experiment=../../experiments/digits.toml -full-size

# Measures against the Python peers in one run, prints the ratios and writes them to runs/bench. About an hour and a half on two
# quiet cores; FULL=1 measures 20 rounds of longer turns, also with two threads and with two workers, in several hours. Ensembles
# of the whole validation set: bin/sat bench analysis --peer --tasks ensembles --images 50000 --rounds 1, with 14 GB of disk.
# docs/bench.md tells what came out.
bench: build
	@scripts/setup.sh peers
	@scripts/bench.sh $(if $(FULL),full)

# Rebuilds the committed references of the tests in an environment of their own.
goldens:
	@scripts/setup.sh peers
	@scripts/goldens/all.sh

check-report: build
	@scripts/check-report.sh

clean:
	rm -rf bin build third_party/env third_party/dev third_party/peers third_party/timm067
