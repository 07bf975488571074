#!/usr/bin/env bash
# Copyright The devicecert-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Builds the manager twice, in folders of different names and without a cache in common, and compares. The flags are the Dockerfile's.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
for place in first a/second/and/longer; do
	mkdir -p "$scratch/$place"
	tar --exclude=./bin --exclude=./dist --exclude=./.git -cf - . | tar -xf - -C "$scratch/$place"
	(cd "$scratch/$place" && GOCACHE=$scratch/cache-$(basename "$place") CGO_ENABLED=0 GOFLAGS=-buildvcs=false go build -trimpath -ldflags=-s -o manager ./cmd/manager)
done
sums=$(cd "$scratch" && sha256sum first/manager a/second/and/longer/manager)
echo "$sums"
[ "$(cut -d' ' -f1 <<<"$sums" | sort -u | wc -l)" -eq 1 ] || { echo "reproducible: the two builds differ" >&2; exit 1; }
