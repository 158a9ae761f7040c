#!/bin/bash
# PID 1 of one node, in mount, uts, ipc, pid and cgroup namespaces of its own and in the node's network namespace.
# usage: node-init.sh NAME ADDRESS slurmd|login|ctl
set -euo pipefail
name=$1
address=$2
role=$3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=network.sh
. "$here/network.sh"
share=$(sed -n 's/^share=//p' /run/rig/settings)

mount -t proc proc /proc
mount -t sysfs sysfs /sys
if [ -e /run/rig/cgroup.path ]; then
    mount -t tmpfs tmpfs /sys/fs/cgroup
    mkdir /sys/fs/cgroup/freezer
    mount -t cgroup -o freezer freezer /sys/fs/cgroup/freezer
fi
echo "$name" > /proc/sys/kernel/hostname
ip -batch - << BATCH
link set lo up
addr replace $address/32 dev eth0
link set eth0 up
neigh replace $GATEWAY lladdr $GATEWAY_MAC dev eth0 nud permanent
route replace $GATEWAY dev eth0 scope link
route replace $NETWORK via $GATEWAY src $address
BATCH

# Of this machine's own GPUs a node sees its share alone. CUDA leaves out those whose device it can't open; it would
# make a missing one itself if /dev could be written to.
if [ -e "/run/rig/dev/$name/minors" ]; then
    own=/run/rig/node/$name/dev
    mkdir -p "$own"
    mount -t tmpfs -o mode=755 tmpfs "$own"
    for device in null zero full random urandom tty nvidiactl nvidia-uvm nvidia-uvm-tools; do
        [ ! -e "/dev/$device" ] || cp -a "/dev/$device" "$own/"
    done
    while read -r minor; do
        mknod -m 666 "$own/nvidia$minor" c 195 "$minor"
    done < "/run/rig/dev/$name/minors"
    mkdir "$own/pts" "$own/shm"
    mount --bind /dev/pts "$own/pts"
    ln -s pts/ptmx "$own/ptmx"
    ln -s /proc/self/fd "$own/fd"
    for number in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${number%:*}" "$own/${number#*:}"; done
    mount -o remount,ro "$own"
    mount --move "$own" /dev
fi

# A munged for each node: several slurmd behind one fail on "replayed" credentials, unless Slurm was built with
# --enable-multiple-slurmd.
mount -t tmpfs -o mode=755 tmpfs /run/munge
munged --force --key-file=/run/rig/munge/key --log-file="/run/rig/log/munged.$name.log" \
    --pid-file=/run/munge/munged.pid --seed-file=/run/munge/seed --socket=/run/munge/munge.socket.2 --num-threads=2

# Compute nodes have a /tmp, a /var/tmp and a /dev/shm of their own; login and ctl see this machine's. The share keeps its path.
if [ "$role" = slurmd ]; then
    own=/run/rig/node/$name/tmp
    mkdir -p "$own"
    chmod 1777 "$own"
    case $share in
    /tmp/*)
        mkdir -p "$own/${share#/tmp/}"
        mount --bind "$share" "$own/${share#/tmp/}"
        ;;
    esac
    mount --rbind "$own" /tmp
    mount -t tmpfs -o size=16g,mode=1777 tmpfs /dev/shm
    # the job's locks of ports lie there: a node of the same name in another cluster must not meet them
    mount -t tmpfs -o size=1g,mode=1777 tmpfs /var/tmp
    cd /
    ulimit -n 20000 2> /dev/null || true
    setsid slurmd -N "$name" || echo "slurmd did not start; see log/slurmd.$name.log" >&2
fi
cd /

# Wait without a child process, so that every `sleep` on a node is somebody else's. Bash reaps orphans meanwhile.
exec {never}<> <(:)
trap 'exit 0' TERM
while :; do read -r -u "$never" || true; done
