#!/usr/bin/env bash
# Copyright The devicecert-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Builds what a release consists of into dist/: the programs, the chart, install.yaml, the SBOM if `make sbom` left one, and
# checksums. The same commit gives the same bytes. VERSION is a semantic version with a leading v, IMAGE the image without tag, PLATFORMS and
# PLUGIN_PLATFORMS what to build for.
set -euo pipefail
cd "$(dirname "$0")/.."

version=${VERSION:-}
[[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] || { echo "release: VERSION must be like v0.1.0 (make release VERSION=v0.1.0)" >&2; exit 1; }
image=${IMAGE:-devicecert-operator}
platforms=${PLATFORMS:-linux/amd64 linux/arm64 linux/arm}
plugin_platforms=${PLUGIN_PLATFORMS:-$platforms darwin/amd64 darwin/arm64 windows/amd64}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export CGO_ENABLED=0 GOARM=7

dist=$PWD/dist
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir -p "$dist"
rm -f "$dist"/*.tar.gz "$dist"/*.tgz "$dist"/install.yaml "$dist"/checksums.txt

# archive FOLDER FILE: without times, owners and order of this machine.
archive() {
	tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw -C "$stage" -cf - "$1" | gzip -9n >"$dist/$2"
}

# build PROGRAM PLATFORM
build() {
	local os=${2%/*} arch=${2#*/} suffix=
	[ "$os" != windows ] || suffix=.exe
	local name=$1_${version}_${os}_$arch
	mkdir -p "$stage/$name"
	GOOS=$os GOARCH=$arch go build -trimpath -buildvcs=false -ldflags="-s -X main.version=$version" -o "$stage/$name/$1$suffix" "./cmd/$1"
	cp LICENSE "$stage/$name/"
	archive "$name" "$name.tar.gz"
}

for platform in $platforms; do
	for program in manager simulator; do
		build "$program" "$platform"
	done
done
for platform in $plugin_platforms; do
	build kubectl-devicecert "$platform"
done

cp -r charts/devicecert-operator "$stage/"
rm "$stage/devicecert-operator/README.md.in"
sed -i "s/^version: .*/version: ${version#v}/; s/^appVersion: .*/appVersion: $version/" "$stage/devicecert-operator/Chart.yaml"
sed -i "s|^  repository: .*|  repository: $image|" "$stage/devicecert-operator/values.yaml"
archive devicecert-operator "devicecert-operator-${version#v}.tgz"
"${TOOLS:-bin/tools}/helm" lint --strict "$dist/devicecert-operator-${version#v}.tgz" >/dev/null

cp -r config "$stage/"
sed -i "s|newName: .*|newName: $image|; s|newTag: .*|newTag: $version|" "$stage/config/manager/kustomization.yaml"
"${KUBEBUILDER_ASSETS:-bin/k8s}/kubectl" kustomize "$stage/config/default" >"$dist/install.yaml"

(cd "$dist" && sha256sum -- *.tar.gz *.tgz install.yaml $(ls *.cdx.json 2>/dev/null || true) >checksums.txt)
cat "$dist/checksums.txt"
