#!/usr/bin/env bash
# Copyright The devicecert-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Builds the manager twice, in folders of different names and without a cache in common, with the Dockerfile's flags, and then a whole
# release in each, with another time zone, language, umask and home. What differs is told. PLATFORMS and PLUGIN_PLATFORMS are release.sh's.
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

export TOOLS=$(realpath "${TOOLS:-bin/tools}") KUBEBUILDER_ASSETS=$(realpath "${KUBEBUILDER_ASSETS:-bin/k8s}")
export VERSION=v0.0.1 SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
GOCACHE=$(go env GOCACHE) GOMODCACHE=$(go env GOMODCACHE)
export GOCACHE GOMODCACHE
(cd "$scratch/first" && TZ=UTC LC_ALL=C hack/release.sh >/dev/null)
mkdir "$scratch/home"
(cd "$scratch/a/second/and/longer" && umask 077 && HOME=$scratch/home TZ=Pacific/Auckland LC_ALL=C.UTF-8 hack/release.sh)
diff -r "$scratch/first/dist" "$scratch/a/second/and/longer/dist" || { echo "reproducible: the two releases differ" >&2; exit 1; }
