#!/usr/bin/env bash
# Lists the packages that must build and pass their tests with CGO_ENABLED=0: all but the image codec, whose subject is C.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
CGO_ENABLED=0 go list ./... | grep -v '/internal/data/codec$'
