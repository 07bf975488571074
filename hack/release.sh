#!/usr/bin/env bash
# Copyright The devicecert-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Builds what a release consists of into DIST (dist/): the programs, the chart, install.yaml, the plugin's Krew manifest, the SBOM if
# `make sbom` left one there, and checksums. The same commit gives the same bytes. VERSION is a semantic version with a leading v, IMAGE the
# image without tag, DOWNLOADS the address that the archives will have, PLATFORMS and PLUGIN_PLATFORMS what to build for.
set -euo pipefail
cd "$(dirname "$0")/.."

version=${VERSION:-}
[[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] || { echo "release: VERSION must be like v0.1.0 (make release VERSION=v0.1.0)" >&2; exit 1; }
image=${IMAGE:-devicecert-operator}
downloads=${DOWNLOADS:-https://github.com/devicecert/devicecert-operator/releases/download/$version}
platforms=${PLATFORMS-linux/amd64 linux/arm64 linux/arm}
plugin_platforms=${PLUGIN_PLATFORMS-$platforms darwin/amd64 darwin/arm64 windows/amd64}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export CGO_ENABLED=0 GOARM=7 LC_ALL=C

dist=${DIST:-dist}
mkdir -p "$dist"
dist=$(realpath "$dist")
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
rm -f "$dist"/*.tar.gz "$dist"/*.tgz "$dist"/install.yaml "$dist"/krew.yaml "$dist"/checksums.txt

# archive FILE FOLDER NAME...: without times, owners and order of this machine.
archive() {
	tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw -C "$stage/$2" -cf - "${@:3}" | gzip -9n >"$dist/$1"
}

# build PROGRAM PLATFORM
build() {
	local os=${2%/*} arch=${2#*/} suffix=
	[ "$os" != windows ] || suffix=.exe
	local name=$1_${version}_${os}_$arch
	mkdir -p "$stage/$name"
	GOOS=$os GOARCH=$arch go build -trimpath -buildvcs=false -ldflags="-s -X main.version=$version" -o "$stage/$name/$1$suffix" "./cmd/$1"
	cp LICENSE "$stage/$name/"
	if [ "$1" = kubectl-devicecert ]; then
		archive "$name.tar.gz" "$name" LICENSE "$1$suffix" # Krew looks for the program at the top
	else
		archive "$name.tar.gz" . "$name"
	fi
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
archive "devicecert-operator-${version#v}.tgz" . devicecert-operator
"${TOOLS:-bin/tools}/helm" lint --strict "$dist/devicecert-operator-${version#v}.tgz" >/dev/null

cp -r config "$stage/"
sed -i "s|newName: .*|newName: $image|; s|newTag: .*|newTag: $version|" "$stage/config/manager/kustomization.yaml"
"${KUBEBUILDER_ASSETS:-bin/k8s}/kubectl" kustomize "$stage/config/default" >"$dist/install.yaml"

# The Krew manifest has the platforms that were built: the head of its template, then a piece of it for each.
sed "/^ *- selector:/,\$d; s|VERSION|$version|" hack/krew/devicecert.yaml >"$dist/krew.yaml"
for platform in $plugin_platforms; do
	os=${platform%/*} arch=${platform#*/} suffix=
	[ "$os" != windows ] || suffix=.exe
	file=kubectl-devicecert_${version}_${os}_$arch.tar.gz
	sum=$(sha256sum "$dist/$file" | cut -d' ' -f1)
	sed -n "/^ *- selector:/,\$p" hack/krew/devicecert.yaml |
		sed "s|OS|$os|; s|ARCH|$arch|; s|URI|$downloads/$file|; s|SHA256|$sum|; s|SUFFIX|$suffix|" >>"$dist/krew.yaml"
done

(cd "$dist" && sha256sum -- *.tar.gz *.tgz install.yaml krew.yaml $(ls *.cdx.json 2>/dev/null || true) >checksums.txt)
cat "$dist/checksums.txt"
