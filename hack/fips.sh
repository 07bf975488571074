#!/usr/bin/env bash
# Copyright The devicecert-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Builds with Go's FIPS 140-3 module, and runs the tests of what decodes, renders and sends with it switched on. What happens where all else
# is forbidden (fips140=only, for tests alone) is tested by the tests with FIPS in their names.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOFIPS140=v1.0.0

go build -trimpath -o /dev/null ./cmd/manager
GODEBUG=fips140=on go test ./internal/certs ./internal/decode ./internal/keystore ./internal/tlssecret ./internal/trustmanager ./internal/account
