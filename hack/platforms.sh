#!/usr/bin/env bash
# Copyright The devicecert-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Builds the manager for the other platforms that it is released for, with the flags of the Dockerfile, and runs tests of whole processes with
# it: the control plane and the vendor are this machine's, and the manager's instructions are translated by qemu. TESTS is a regular expression.
set -euo pipefail
cd "$(dirname "$0")/.."

tests=${TESTS:-^(TestEveryKeyFormatEnds|TestARenewalReplaces|TestSIGTERMDuring|TestARestartWithValid|TestMetricsAreShown)}
declare -A emulators=([arm64]=qemu-aarch64-static [arm]=qemu-arm-static)
if ! command -v qemu-aarch64-static qemu-arm-static >/dev/null; then
	as_root=()
	[ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
	command -v apt-get >/dev/null || { echo "make platforms: install qemu-user-static (Debian's name)" >&2; exit 1; }
	"${as_root[@]}" apt-get update -qq
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends qemu-user-static >/dev/null
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for arch in arm64 arm; do
	CGO_ENABLED=0 GOOS=linux GOARCH=$arch GOARM=7 go build -trimpath -ldflags=-s -o "$work/manager.$arch" ./cmd/manager
	printf '#!/bin/sh\nexec %s %s "$@"\n' "${emulators[$arch]}" "$work/manager.$arch" >"$work/manager"
	chmod +x "$work/manager"
	echo "linux/$arch"
	go test ./test/e2e -count=1 -timeout=20m -v -run "$tests" -args -manager="$work/manager" | grep -E '^(---|FAIL|ok|panic| +[a-z]+_test\.go)'
done
