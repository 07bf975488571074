#!/usr/bin/env bash
# Copyright The devicecert-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Checks that everything generated is what the generators would write now, that the code is
# formatted and vetted, and that the modules are tidy. Changes nothing; every complaint names the
# command that mends it.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=
complain() {
	echo "verify: $1" >&2
	failed=yes
}

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
tar --exclude=./bin --exclude=./.git -cf - . | tar -xf - -C "$copy"
make -C "$copy" TOOLS="$TOOLS" generate manifests docs >/dev/null
diff -ru --exclude=bin --exclude=.git . "$copy" || complain "generated files are stale: run make generate manifests docs"

unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || complain "not formatted: run gofmt -w $(echo $unformatted)"

for module in . hack/controlplane hack/helm hack/tools hack/sbom hack/monitoring; do
	go -C "$module" mod tidy -diff || complain "go.mod is not tidy: run go -C $module mod tidy"
done

go vet ./... || complain "go vet has findings: mend them"

[ -z "$failed" ]
