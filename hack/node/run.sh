#!/usr/bin/env bash
# Copyright The devicecert-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Runs the operator, installed by Helm, on a real node on this machine: a kubelet built from the module beside this script, Debian's
# containerd, and images built from the Dockerfile by buildah, with nothing pulled from a registry. Everything happens in network, mount
# and process namespaces that end with it. Where no node can run it says so in one line. CHAPTERS is a regular expression of the titles
# that are told; without it all are.
set -euo pipefail
cd "$(dirname "$0")/../.."

cannot() {
	echo "make node: no node can run here: $1"
	exit 0
}
[ "$(uname -s)" = Linux ] || cannot "it needs Linux"
[ "$(id -u)" -eq 0 ] || cannot "it needs root"
unshare --net --mount --pid --fork --mount-proc ip link add probe type bridge 2>/dev/null || cannot "namespaces or bridges are not permitted"
grep -q cgroup /proc/mounts || cannot "no control groups are mounted"

# The programs by the Debian package that brings them.
declare -A packages=([containerd]=containerd [runc]=runc [buildah]=buildah [/usr/lib/cni/bridge]=containernetworking-plugins [ip]=iproute2)
missing=()
for program in "${!packages[@]}"; do
	command -v "$program" >/dev/null || missing+=("${packages[$program]}")
done
if [ ${#missing[@]} -gt 0 ]; then
	command -v apt-get >/dev/null || cannot "install ${missing[*]} (Debian's names)"
	echo "installing ${missing[*]}"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

out=$PWD/bin/node
mkdir -p "$out"
wanted=$(cat hack/node/go.mod hack/node/go.sum | cksum)
if [ ! -x "$out/kubelet" ] || [ "$(cat "$out/.built-from" 2>/dev/null)" != "$wanted" ]; then
	version=$(go -C hack/node list -m -f '{{.Version}}' k8s.io/kubernetes)
	echo "building kubelet $version from source into $out (once, about four minutes on two cores)"
	IFS=. read -r major minor _ <<<"${version#v}"
	ldflags="-s -w"
	for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
		ldflags+=" -X $package.gitVersion=$version -X $package.gitMajor=$major -X $package.gitMinor=$minor"
	done
	CGO_ENABLED=0 go -C hack/node build -trimpath -ldflags "$ldflags" -o "$out/kubelet" k8s.io/kubernetes/cmd/kubelet
	echo "$wanted" >"$out/.built-from"
fi

helm=$(realpath "${TOOLS:-bin/tools}/helm")
work=$(mktemp -d /tmp/node.XXXXXX)
keep=
# containerd keeps its control groups in one of this name; where there is none, it is ours to remove.
groups=()
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*/; do
	[ ! -e "$hierarchy/cgroup.procs" ] || [ -e "$hierarchy/k8s.io" ] || groups+=("$hierarchy/k8s.io")
done
finish() {
	for group in "${groups[@]}"; do
		[ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
	done
	[ -n "$keep" ] || rm -rf "$work"
}
trap finish EXIT

build() {
	buildah --storage-driver vfs --root "$work/storage" --runroot "$work/run" "$@" >>"$work/images.log" 2>&1 ||
		{ tail -20 "$work/images.log" >&2; exit 1; }
}
echo "building the images from the Dockerfile, and the program of the gateways"
mkdir -p "$work/tmp" "$work/context"
# The Dockerfile's builder is an image with Go; here it is this machine, mounted.
go_root=$(go env GOROOT)
cat >"$work/builder" <<-EOT
	FROM scratch
	ENV PATH=$go_root/bin:/usr/bin:/bin HOME=/root GOPROXY=off GOFLAGS=-buildvcs=false
EOT
build bud --tag devicecert.test/builder:node --file "$work/builder" "$work/context"
mounts=()
for folder in /usr /bin /lib /lib64 /etc "$go_root"; do
	[ ! -e "$folder" ] || mounts+=(--volume "$folder:$folder:ro")
done
go mod download
# from_dockerfile IMAGE [FLAG]...
from_dockerfile() {
	build bud --pull-never --isolation chroot --build-arg BUILDER=devicecert.test/builder:node --build-arg BASE=scratch \
		--build-arg TARGETOS=linux --build-arg "TARGETARCH=$(go env GOARCH)" "${mounts[@]}" --volume "$work/tmp:/tmp" \
		--volume "$(go env GOMODCACHE):/root/go/pkg/mod" --volume "$(go env GOCACHE):/root/.cache/go-build" \
		--tag "devicecert.test/$1:node" "${@:2}" .
}
from_dockerfile manager
from_dockerfile simulator --target simulator
CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$work/context/workload" ./test/node/workload
cat >"$work/workload" <<-EOT
	FROM scratch
	COPY workload /workload
	ENTRYPOINT ["/workload"]
EOT
build bud --tag devicecert.test/workload:node --file "$work/workload" "$work/context"
for image in manager simulator workload; do
	build push "devicecert.test/$image:node" "docker-archive:$work/$image.tar:devicecert.test/$image:node"
done
go build -o "$out/story" ./test/node
unshare --net --mount --pid --fork --kill-child --mount-proc "$out/story" \
	--kubelet="$out/kubelet" --helm="$helm" --images="$work" --folder="$work" --chapters="${CHAPTERS:-}" ||
	{ keep=yes; exit 1; }
