#!/usr/bin/env bash
# Copyright The devicecert-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Builds etcd, kube-apiserver, kube-controller-manager and kubectl into the folder given (default
# bin/k8s) from the module beside this script. Does nothing when they are there already, or when
# KUBEBUILDER_ASSETS names a folder that holds all four.
set -euo pipefail

module=$(cd "$(dirname "$0")" && pwd)
out=${1:-$module/../../bin/k8s}
programs=(etcd kube-apiserver kube-controller-manager kubectl)

holds_all() {
	local program
	for program in "${programs[@]}"; do
		[ -x "$1/$program" ] || return 1
	done
}

if [ -n "${KUBEBUILDER_ASSETS:-}" ] && holds_all "$KUBEBUILDER_ASSETS"; then
	echo "control plane: using KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS"
	exit 0
fi

# What was built is remembered by content, not by date: a fresh checkout has new dates everywhere.
wanted=$(cat "$module/go.mod" "$module/go.sum" "$module/build.sh" | cksum)
if holds_all "$out" && [ "$(cat "$out/.built-from" 2>/dev/null)" = "$wanted" ]; then
	exit 0
fi

mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$module"
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
echo "control plane: building Kubernetes $version and etcd from source into $out (once, about six minutes on two cores)"

# kubectl and Helm refuse a server that does not know its own version.
IFS=. read -r major minor _ <<<"${version#v}"
ldflags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
	ldflags+=" -X $package.gitVersion=$version -X $package.gitMajor=$major -X $package.gitMinor=$minor"
done

# Built aside and moved in one by one, the stamp last: whoever interrupts this, or runs it twice at
# once, never leaves a half-written program behind.
aside=$(mktemp -d "$out/.build.XXXXXX")
trap 'rm -rf "$aside"' EXIT
export CGO_ENABLED=0
go build -trimpath -ldflags "$ldflags" -o "$aside/etcd" go.etcd.io/etcd/server/v3
go build -trimpath -ldflags "$ldflags" -o "$aside/" \
	k8s.io/kubernetes/cmd/kube-apiserver \
	k8s.io/kubernetes/cmd/kube-controller-manager \
	k8s.io/kubernetes/cmd/kubectl
rm -f "$out/.built-from"
for program in "${programs[@]}"; do
	mv -f "$aside/$program" "$out/$program"
done
echo "$wanted" >"$aside/.built-from"
mv -f "$aside/.built-from" "$out/.built-from"
echo "control plane: built"
