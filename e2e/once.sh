# shellcheck shell=bash
# once.sh is sourced by scripts that build a tool from source, once, into the cache.

# once WHAT DIR BUILD FILE...: has the function BUILD make FILE... in DIR, unless they are all there.
once() {
  local what=$1 dir=$2 build=$3 file missing=
  shift 3
  for file; do [ -x "$dir/$file" ] || missing=$file; done
  [ -n "$missing" ] || return 0
  command -v go >/dev/null || { echo "no go on PATH: install Go (https://go.dev/dl)" >&2 && exit 1; }
  echo "==> building $what (a few minutes)" >&2
  mkdir -p "$dir"
  # A lock, since several runs share the cache.
  exec 9>"$dir.lock"
  flock 9
  "$build" >&2
}
