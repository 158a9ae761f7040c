#!/bin/bash
# Boots one node; runs in the cluster's namespaces. Used at the start and to bring a killed node back.
# usage: node-start.sh NAME ADDRESS slurmd|login|ctl
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=$1
mkdir -p "/run/rig/node/$name/spool"
cgroup=
own_cgroup=()
if [ -e /run/rig/cgroup.path ]; then    # the node's own becomes the root of what it sees of the freezer
    cgroup=$(cat /run/rig/cgroup.path)/$name
    mkdir -p "$cgroup"
    own_cgroup=(--cgroup)
fi
(   # nothing in here may fork: the first child is taken for the node's PID 1
    [ -z "$cgroup" ] || echo "$BASHPID" > "$cgroup/cgroup.procs"
    exec nsenter --net="/run/netns/$name" \
        unshare --mount --uts --ipc --pid "${own_cgroup[@]}" --fork "$here/node-init.sh" "$@"
) < /dev/null >> "/run/rig/log/init.$name.log" 2>&1 &
outer=$!
init=
for ((i = 0; i < 500; i++)); do
    read -r init _ < "/proc/$outer/task/$outer/children" || true
    [ -n "$init" ] && break
    sleep 0.01
done
[ -n "$init" ] || { echo "node $name did not start; see log/init.$name.log" >&2; exit 1; }
echo "$init" > "/run/rig/node/$name/init.pid.new"
mv "/run/rig/node/$name/init.pid.new" "/run/rig/node/$name/init.pid"
