#!/usr/bin/env bash
# Installs the Debian packages listed in deploy/packages.txt, or in another
# list, that are missing. Says nothing, and asks for no password, when none is.
# Usage: install-packages.sh [LIST]
#
# No service is started for it: what runs is the tests' and the demo's business,
# on ports and in namespaces of their own.
#
# The kernel and the busybox of the lab's guests are not among them: `lab up` fetches and unpacks
# them, since an installed kernel might be the next that this machine boots.
set -euo pipefail

list=${1:-$(dirname "$0")/packages.txt}
mapfile -t wanted < <(sed 's/#.*//' "$list" | awk 'NF { print $1 }')

if ! command -v dpkg-query >/dev/null; then
  echo "install-packages: this is no Debian; install what does the same as: ${wanted[*]}" >&2
  exit 1
fi

# missing prints those of the packages that are not installed.
missing() {
  local installed
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | awk '$1 == "installed" { print $2 }') || true
  comm -23 <(printf '%s\n' "$@" | sort) <(sort <<<"$installed")
}

mapfile -t lacking < <(missing "${wanted[@]}")
# The lab's kernel is downloaded by name, which takes package lists.
lists=yes
apt-cache show linux-image-cloud-amd64 >/dev/null 2>&1 || lists=no
[[ ${#lacking[@]} -eq 0 && $lists == yes ]] && exit 0

sudo=()
if [[ $(id -u) -ne 0 ]]; then
  if ! command -v sudo >/dev/null; then
    echo "install-packages: run this as root, or install: ${lacking[*]}" >&2
    exit 1
  fi
  sudo=(sudo)
fi

# apt_get runs apt-get, waiting for another that runs, and shows what it said only if it fails.
log=$(mktemp)
policy=''
cleanup() {
  rm -f "$log"
  [[ -z $policy ]] || "${sudo[@]}" rm -f "$policy"
}
trap cleanup EXIT
apt_get() {
  if ! "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 "$@" >"$log" 2>&1 </dev/null; then
    return 1
  fi
}

# no_services has packages ask before they start a service, and be told no (101);
# a machine that has an answer of its own keeps it.
no_services() {
  local file=/usr/sbin/policy-rc.d
  [[ -e $file ]] && return
  policy=$file
  printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$file" >/dev/null
  "${sudo[@]}" chmod 755 "$file"
}

install() { apt_get install -y --no-install-recommends "${lacking[@]}"; }

if [[ $lists == no ]]; then
  echo "install-packages: fetching package lists"
  apt_get update || { cat "$log" >&2; echo "install-packages: apt-get update failed" >&2; exit 1; }
fi
[[ ${#lacking[@]} -eq 0 ]] && exit 0
echo "install-packages: installing ${lacking[*]}"
no_services
if ! install; then
  # The lists may be older than what the mirror still has.
  if ! apt_get update || ! install; then
    cat "$log" >&2
    echo "install-packages: could not install ${lacking[*]}" >&2
    exit 1
  fi
fi
