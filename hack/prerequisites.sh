#!/usr/bin/env bash
# Copyright The devicecert-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Brings the programs that the tests compare ours with, and those that use what ours makes, where they are missing and apt-get can install
# them. Servers among them are not started: the tests start their own.
set -euo pipefail
PATH=$PATH:/usr/sbin

# The programs by the Debian package that brings them.
declare -A packages=(
	[openssl]=openssl [javac]=default-jdk-headless [keytool]=default-jre-headless [promtool]=prometheus
	[curl]=curl [nginx]=nginx-light [mosquitto]=mosquitto [mosquitto_pub]=mosquitto-clients
	[haproxy]=haproxy [inotifywait]=inotify-tools
)
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
echo "installing ${missing[*]}, which the tests use"

# While this policy is in place packages do not start what they bring, and what was not there before does not start at boot either.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
	"${as_root[@]}" chmod 0755 "$policy"
	trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
for service in nginx mosquitto haproxy prometheus; do
	if [[ " ${missing[*]} " == *" $service"* ]] && command -v systemctl >/dev/null; then
		"${as_root[@]}" systemctl disable -q "$service" 2>/dev/null || true
	fi
done
