#!/bin/bash
# Boots a real systemd as PID 1 of a container, whatever this machine's own init is (root only).
# The container sees this machine's root folder through an overlay that lives in memory: what is
# written inside is gone after `down`, and the machine's own mounts and services stay as they are.
#
#   container.sh DIR up             boot; DIR is a folder of its own for the container's bookkeeping
#   container.sh DIR run CMD...     run CMD inside, as root
#   container.sh DIR put SRC DST    copy a file or a folder in
#   container.sh DIR down           power off in good order, and clear away
set -euo pipefail

if (($# < 2)); then
    echo "usage: container.sh DIR up|run|put|down [...]" >&2
    exit 2
fi
dir=$1 verb=$2
shift 2
name=stsd-$(basename "$dir" | tr -cd 'A-Za-z0-9' | tail -c 20)

leader() { cat "$dir/leader"; }

inside() { nsenter -t "$(leader)" -m -u -i -n -p -C -- "$@"; }

# In a mount namespace of its own, which ends with the container. A machine that still has the
# first kind of control groups has the second one as well; systemd here is shown only that.
boot() {
    mount --make-rprivate /
    mount -t tmpfs tmpfs /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mkdir -p "/sys/fs/cgroup/$name"
    echo $$ >"/sys/fs/cgroup/$name/cgroup.procs"
    mkdir -p "$dir/overlay"
    mount -t tmpfs tmpfs "$dir/overlay"
    mkdir "$dir"/overlay/{upper,work,root}
    mount -t overlay overlay "$dir/overlay/root" \
        -o "lowerdir=/,upperdir=$dir/overlay/upper,workdir=$dir/overlay/work"
    cd "$dir/overlay/root"
    rm -f etc/machine-id
    echo uninitialized >etc/machine-id
    # Nothing that this machine has set up for itself is to start in the container.
    rm -f etc/systemd/system/{multi-user,timers,network-online,sysinit}.target.wants/*
    local unit generator
    mkdir -p etc/systemd/system-generators
    for generator in {usr/,}lib/systemd/system-generators/[!s]*; do
        ln -sf /dev/null "etc/systemd/system-generators/$(basename "$generator")"
    done
    for unit in systemd-networkd.service systemd-networkd.socket console-getty.service \
        systemd-networkd-wait-online.service systemd-resolved.service cron.service; do
        ln -sf /dev/null "etc/systemd/system/$unit"
    done
    exec systemd-nspawn --quiet --directory="$dir/overlay/root" --boot --private-network \
        --register=no --keep-unit --console=read-only --machine="$name"
}

up() {
    mkdir -p "$dir"
    export -f boot
    export dir name
    setsid unshare --mount bash -euo pipefail -c boot </dev/null >"$dir/console.log" 2>&1 &
    echo $! >"$dir/nspawn"
    local pid
    for ((tries = 0; tries < 600; tries++)); do
        pid=$(pgrep -P "$(cat "$dir/nspawn")" -x systemd || true)
        if [[ -n $pid ]]; then
            echo "$pid" >"$dir/leader"
            if inside test -S /run/dbus/system_bus_socket 2>/dev/null; then
                inside systemctl is-system-running --wait || inside systemctl --failed --no-pager
                return
            fi
        fi
        if ! kill -0 "$(cat "$dir/nspawn")" 2>/dev/null; then
            break
        fi
        sleep 0.1
    done
    cat "$dir/console.log" >&2
    down
    exit 1
}

# systemd-nspawn turns TERM into an orderly power-off; one that hangs is ended the hard way.
down() {
    local pid
    pid=$(cat "$dir/nspawn")
    kill -TERM "$pid" 2>/dev/null || true
    for ((tries = 0; tries < 300; tries++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
    find /sys/fs/cgroup/"$name" /sys/fs/cgroup/unified/"$name" -depth -type d \
        -exec rmdir {} \; 2>/dev/null || true
    rm -rf "$dir"
}

case $verb in
up) up ;;
run) inside "$@" ;;
put) cp -a "$1" "/proc/$(leader)/root$2" ;;
down) down ;;
*)
    echo "container.sh: $verb is none of up, run, put and down" >&2
    exit 2
    ;;
esac
