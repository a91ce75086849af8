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

# reproducible_tgz ARCHIVE TAR_ARGUMENTS...: of the time and rights that files have here nothing remains.
reproducible_tgz() {
  tar --create --sort=name --format=ustar --mtime="@${SOURCE_DATE_EPOCH:-315532800}" --owner=0 --group=0 \
    --numeric-owner --mode=u=rwX,go=rX "${@:2}" | gzip --no-name --best >"$1.new"
  mv "$1.new" "$1"
}
