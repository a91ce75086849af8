# shellcheck shell=bash disable=SC2154
# The Docker engine: the machine's own where there is one, else one of ours on Debian, as root.
# Sourced by ../kind.sh, which brings say, fail, step and $cache.

# State of a running engine is where a reboot clears it, and short: socket paths end at 107 characters.
engine_run=/run/bitcoin-controller
engine_pid=$engine_run/dockerd.pid
engine_routes=$engine_run/routes
engine_data=$cache/docker
# kind's own: pods, services
cluster_ranges=(10.244.0.0/16 10.96.0.0/16 fd00:10:244::/56 fd00:10:96::/112)

engine_packages=(docker.io containerd runc iptables iproute2 jq)

engine_up() {
  if engine_answers; then
    return
  fi
  engine_may_be_ours
  packages_ensure "${engine_packages[@]}"
  step "starting a Docker engine" engine_start
}

# docker info succeeds with some clients when no engine answers; the server's version doesn't.
engine_answers() {
  docker version --format '{{.Server.Version}}' >/dev/null 2>&1
}

engine_is_ours() {
  [ -f "$engine_pid" ] && alive "$(cat "$engine_pid")"
}

# engine_may_be_ours says what to do where starting an engine is somebody else's decision.
engine_may_be_ours() {
  if [ -n "${DOCKER_HOST:-}" ]; then
    fail "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST: start that one, or unset DOCKER_HOST"
  fi
  if [ "$(uname -s)" != Linux ]; then
    fail "no Docker engine answers: start Docker Desktop (or colima, or another), then run this again"
  fi
  if [ -d /run/systemd/system ] && systemctl cat docker.service >/dev/null 2>&1; then
    fail "Docker is installed but not running, or not for you: 'systemctl start docker', and be root or in group docker"
  fi
  if [ "$(id -u)" != 0 ]; then
    fail "no Docker engine answers: install Docker (https://docs.docker.com/engine/install), or run this as root on" \
      "Debian, where it brings its own"
  fi
  if ! command -v apt-get >/dev/null; then
    fail "no Docker engine answers, and only on Debian this knows how to bring its own: install Docker" \
      "(https://docs.docker.com/engine/install)"
  fi
}

packages_ensure() {
  local package missing=()
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  if [ ${#missing[@]} != 0 ]; then
    step "installing ${missing[*]}" packages_install "${missing[@]}"
  fi
}

packages_install() {
  # Debian starts a service when it installs it. This engine is to be started here, with options of ours.
  local policy=/usr/sbin/policy-rc.d ours=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    ours=yes
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  # Lists of sources that can't be reached make a warning. What matters is whether the packages can be had.
  apt-get update -qq || true
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
  if [ -n "$ours" ]; then
    rm -f "$policy"
  fi
}

engine_start() {
  local options=(
    --data-root "$engine_data"
    --exec-root "$engine_run/exec"
    --pidfile "$engine_pid"
  )
  mkdir -p "$engine_run" "$cache/bin" "$cache/log"
  if ! host_has_sys_resource; then
    # A copy, for the engine may outlive this checkout.
    install -m 755 "$offline/runc-nocap" "$cache/bin/runc-nocap"
    options+=(--add-runtime "nocap=$cache/bin/runc-nocap" --default-runtime nocap)
  fi
  # Dead for sure, as nothing answers, but its pid may be somebody else's by now and dockerd would refuse to start.
  rm -f "$engine_pid"

  # The lock of the script is not the engine's to hold.
  setsid dockerd "${options[@]}" >"$cache/log/dockerd.log" 2>&1 </dev/null 9>&- &
  local dockerd=$!
  until engine_answers; do
    if ! alive "$dockerd"; then
      tail -n 20 "$cache/log/dockerd.log"
      return 1
    fi
    sleep 0.2
  done
  routes_close
}

# engine_recover starts an engine of ours again which was killed, as its containers outlived it and only it knows them.
engine_recover() {
  if [ -d "$engine_run" ] && ! engine_answers; then
    step "starting the Docker engine again, to clean up" engine_start
  fi
}

# engine_down stops the engine if it is ours and nobody uses it any more, and leaves nothing of it but its data.
engine_down() {
  if ! engine_is_ours; then
    return
  fi
  if [ -n "$(docker ps -q)" ]; then
    say "the Docker engine keeps running, for: $(docker ps --format '{{.Names}}' | xargs)"
    return
  fi
  docker network rm kind >/dev/null 2>&1 || true
  # Both are gone soon after; until then their mounts are busy.
  local dockerd containerd
  dockerd=$(cat "$engine_pid")
  containerd=$(cat "$engine_run/exec/containerd/containerd.pid" 2>/dev/null || true)
  kill "$dockerd"
  gone "$dockerd" 60
  if [ -n "$containerd" ] && [ "$(cat "/proc/$containerd/comm" 2>/dev/null)" = containerd ]; then
    kill "$containerd" 2>/dev/null || true
    gone "$containerd" 20
  fi
  unmount_below "$engine_run"
  unmount_below "$cache"
  ip link delete docker0 2>/dev/null || true
  routes_open
  rm -rf "$engine_run"
}

# Addresses of pods and services mean something in a node only. Outside of it somebody dials them all the same: a
# controller which runs on the host, or a node whose kube-proxy is not up yet. Without routes of their own such packets
# leave this machine by the default route, and whatever answers there is not the cluster.
routes_close() {
  local range
  for range in "${cluster_ranges[@]}"; do
    if [ -z "$(ip "$(family "$range")" route show root "$range")" ] && ip route add unreachable "$range"; then
      echo "$range" >>"$engine_routes"
    fi
  done
}

# family is the option of ip that a range takes to be shown.
family() {
  case $1 in
    *:*) echo -6 ;;
    *) echo -4 ;;
  esac
}

routes_open() {
  local range
  [ -f "$engine_routes" ] || return 0
  while IFS= read -r range; do
    ip route delete unreachable "$range" 2>/dev/null || true
  done <"$engine_routes"
  rm -f "$engine_routes"
}

# host_has_sys_resource reads bit 24, CAP_SYS_RESOURCE, of what this machine lets anybody have.
host_has_sys_resource() {
  [ "$(uname -s)" = Linux ] || return 0 # Docker Desktop's machine has it
  local bounding
  bounding=$(awk '$1 == "CapBnd:" {print $2}' /proc/self/status)
  (((16#$bounding >> 24) & 1))
}

unmount_below() {
  local mount
  # The deepest first.
  findmnt -rn -o TARGET | grep "^$1/" | sort -r | while IFS= read -r mount; do
    umount -l "$mount" 2>/dev/null || true
  done || true
}

# A process that ended but is still to be collected by its parent is not alive.
alive() {
  kill -0 "$1" 2>/dev/null && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null
}

# gone waits for the end of process $1, $2 seconds at most.
gone() {
  local deadline=$((SECONDS + $2))
  while alive "$1"; do
    if [ $SECONDS -ge $deadline ]; then
      fail "process $1 ($(cat "/proc/$1/comm")) did not end within $2s of SIGTERM"
    fi
    sleep 0.1
  done
}
