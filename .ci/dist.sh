# shellcheck shell=bash
# dist.sh is for those who make files that users download: what their names and their images may be, and archives of which
# the same content is the same bytes.

# checked_version VERSION
checked_version() {
  [[ $1 =~ ^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$ ]] || {
    echo "VERSION is '$1': it must be a name for files and a tag of an image, such as v1.2.3" >&2
    exit 2
  }
}

# checked_image WHAT NAME: a name without a tag or digest would be pulled as whatever is the latest. It leaves the parts of
# the name in repository, tag and digest.
checked_image() {
  [[ $2 =~ ^([a-z0-9]|[a-z0-9][a-z0-9._:/-]*[a-z0-9])(:([A-Za-z0-9_][A-Za-z0-9._-]*)|@(sha256:[0-9a-f]{64}))$ ]] || {
    echo "$1 is '$2': it must be an image with its tag or digest, such as registry.example.com/you/name:v1" >&2
    exit 2
  }
  # shellcheck disable=SC2034 # for whoever asks for the parts
  repository=${BASH_REMATCH[1]} tag=${BASH_REMATCH[3]} digest=${BASH_REMATCH[4]}
}

# semver_of prints the SemVer of a release, v1.2.3 or v1.2.3-rc.1. Other names that `git describe` has can be no SemVer,
# such as 7b9a2c9, or sort wrong: v1.2.3-4-g7b9a2c9 is newer than v1.2.3. They become prereleases of 0.0.0, older than
# all releases.
semver_of() {
  local number='(0|[1-9][0-9]*)'
  local release="^v?$number\.$number\.$number(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$"
  if [[ $1 =~ $release && ! $1 =~ -[0-9]+-g[0-9a-f]+$ && $1 != *-dirty ]]; then
    echo "${1#v}"
  else
    echo "0.0.0-dev-${1//[^0-9A-Za-z]/-}"
  fi
}

# reproducible_tgz ARCHIVE TAR_ARGUMENTS...: of the time and rights that files have here nothing remains.
reproducible_tgz() {
  tar --create --sort=name --format=ustar --mtime="@${SOURCE_DATE_EPOCH:-315532800}" --owner=0 --group=0 \
    --numeric-owner --mode=u=rwX,go=rX "${@:2}" | gzip --no-name --best >"$1.new"
  mv "$1.new" "$1"
}

# plugin_platforms are what kubectl-btcnet is released for, each as GOOS/GOARCH.
# shellcheck disable=SC2034 # for whoever asks for them
plugin_platforms=(linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64)

# plugin_archive VERSION PLATFORM prints the name of the archive that has kubectl-btcnet for it.
plugin_archive() {
  case $2 in
    windows/*) echo "kubectl-btcnet_$1_${2/\//_}.zip" ;;
    *) echo "kubectl-btcnet_$1_${2/\//_}.tar.gz" ;;
  esac
}
