#!/usr/bin/env bash
# Installs the Go programs listed in deploy/tools.txt into a directory, those
# that are missing there or have another version. Usage: install-tools.sh DIRECTORY
set -euo pipefail

list=$(dirname "$0")/tools.txt
mkdir -p "${1:?usage: install-tools.sh DIRECTORY}"
dir=$(cd "$1" && pwd)

# Two runs at once: the second waits, and then finds everything there.
exec 9>"$dir/.lock"
flock 9

# What is found on PATH must not be what this script put there.
path_without_dir=$(tr ':' '\n' <<<"$PATH" | grep -vxF "$dir" | paste -sd:)

# is_current FILE PACKAGE VERSION: was FILE built from this version of PACKAGE?
is_current() {
  [[ -x $1 ]] && go version -m "$1" 2>/dev/null | awk -v package="$2" -v version="$3" '
    $1 == "path" { path = $2 }
    $1 == "mod"  { mod = $3 }
    END { exit !(path == package && mod == version) }'
}

while read -r tool or_on_path; do
  [[ -z $tool || $tool == \#* ]] && continue
  package=${tool%@*} version=${tool#*@} name=$(basename "${tool%@*}")

  if [[ $or_on_path == "or on PATH" ]]; then
    if found=$(PATH=$path_without_dir command -v "$name") && "$found" --version >/dev/null; then
      ln -sfn "$found" "$dir/$name"
      continue
    fi
    [[ -L $dir/$name ]] && rm "$dir/$name" # to one that is no longer on PATH
  fi
  is_current "$dir/$name" "$package" "$version" && continue

  echo "installing $tool into $dir (the first time takes minutes)"
  new=$(mktemp -d "$dir/.new.XXXXXX")
  trap 'rm -rf "$new"' EXIT
  # GOFLAGS may hold tags or -mod for this repository, GOOS another machine's.
  GOFLAGS='' GOOS='' GOARCH='' GOBIN=$new go install "$tool" 9>&-
  mv -f "$new/$name" "$dir/$name"
  rm -rf "$new"
done <"$list"
