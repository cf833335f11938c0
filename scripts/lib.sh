# lib.sh: what scripts/run and scripts/test share. Sourced, not run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

BUILD_PACKAGES="gcc libc6-dev meson ninja-build pkg-config liburing-dev libjemalloc-dev libxxhash-dev libluajit-5.1-dev libsystemd-dev"

say() { printf '\n==> %s\n' "$*"; }

die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "needs root or sudo for: $*"
    fi
}

# install_missing PACKAGE…: asks apt only if something is missing.
install_missing() {
    local missing=""
    local package
    for package in "$@"; do
        dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
    done
    [ -z "$missing" ] && return 0
    command -v apt-get >/dev/null || die "please install:$missing"
    say "installing:$missing"
    # RUNLEVEL=1 keeps packages such as redis-server from starting a service of their own.
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -q --no-install-recommends $missing ||
        { as_root apt-get update -q &&
            as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -q --no-install-recommends $missing; } ||
        die "apt could not install:$missing"
}

# configure DIRECTORY OPTION…: a meson build directory with these options, new or old.
configure() {
    local directory=$1
    shift
    if [ -f "$directory/build.ninja" ]; then
        meson configure "$directory" "$@" >/dev/null 2>&1 && return 0
        rm -rf "$directory"
    fi
    mkdir -p "$directory"
    meson setup "$directory" "$ROOT" "$@" >"$directory/setup.log" 2>&1 ||
        { tail -n 30 "$directory/setup.log" >&2; die "meson setup failed in $directory"; }
}

# compile DIRECTORY TARGET…: builds, and shows the output only if it fails or warns.
compile() {
    local directory=$1 log
    log=$directory/compile.log
    shift
    if ! ninja -C "$directory" "$@" >"$log" 2>&1; then
        tail -n 60 "$log" >&2
        return 1
    fi
    grep 'warning:' "$log" | sort | uniq | head -n 10 || true
}
