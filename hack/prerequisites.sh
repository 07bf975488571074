#!/usr/bin/env bash
# Copyright The devicecert-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Brings the programs that the tests compare ours with, where they are missing and apt-get can install them.
set -euo pipefail

# The programs by the Debian package that brings them.
declare -A packages=([openssl]=openssl [keytool]=default-jre-headless [promtool]=prometheus)
missing=()
for program in "${!packages[@]}"; do
	command -v "$program" >/dev/null || missing+=("${packages[$program]}")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
if ! command -v apt-get >/dev/null || ! "${as_root[@]}" true 2>/dev/null; then
	echo "the tests compare with other implementations: install ${missing[*]} (Debian's names)" >&2
	exit 1
fi
echo "installing ${missing[*]}, which the tests compare with"
"${as_root[@]}" apt-get update -qq
# RUNLEVEL=1 keeps a package from starting the service it brings.
"${as_root[@]}" env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
