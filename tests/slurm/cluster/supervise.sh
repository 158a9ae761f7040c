#!/bin/bash
# Holds one cluster: starts it, and when told to end, or when its owner is gone, ends all of it.
#
# usage: unshare --mount --propagation private supervise.sh STATE attached|detached
#   attached: standard input is a pipe from the owner. Its end means that the owner is gone, however it died.
#   detached: only TERM (or the death of the cluster itself) ends it.
#
# It runs in a mount namespace of its own, so that nothing mounted here is seen on the machine.
set -euo pipefail
state=$1
mode=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Held for as long as this cluster lives: tells a live state folder from one that a crash left.
exec {lock}> "$state/lock"
flock --nonblock "$lock" || { echo "another cluster lives in $state" >&2; exit 1; }
echo $$ > "$state/supervisor.pid"

# An empty /run hides this machine's munge and network namespaces, and gives the state folder a short path:
# slurmd's unix sockets must stay below 108 bytes wherever the checkout is.
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/rig /run/munge /run/netns /run/freezer
mount --bind "$state" /run/rig
cd /run/rig

# Job processes are tracked with a v1 freezer, as real sites do it: proctrack/linuxproc loses those that become
# children of init, and a cancelled job then hangs. The hierarchy can be mounted beside cgroup v2 too.
cgroup=
if grep -qx 'proctrack=cgroup' settings; then
    mount -t cgroup -o freezer freezer /run/freezer
    cgroup=/run/freezer/slurm-test-$(cat cluster.id)
    mkdir "$cgroup"
    echo "$cgroup" > cgroup.path
fi

# Killed together with this script (pdeathsig), and its child with it (kill-child).
setpriv --pdeathsig KILL unshare --mount --net --ipc --uts --pid --fork --kill-child --mount-proc \
    "$here/fabric-init.sh" {lock}>&- < /dev/null &
outer=$!
fabric=
for ((i = 0; i < 500; i++)); do
    read -r fabric _ < "/proc/$outer/task/$outer/children" || true
    [ -n "$fabric" ] && break
    kill -0 "$outer" 2> /dev/null || exit 1
    sleep 0.01
done
echo "$fabric" > fabric.pid.new
mv fabric.pid.new fabric.pid        # whoever sees the file sees all of it

watch=
end() {
    trap '' TERM INT
    kill -KILL "$fabric" 2> /dev/null || true           # PID 1 of the cluster: every process goes with it
    wait "$outer" 2> /dev/null || true
    [ -z "$watch" ] || kill "$watch" 2> /dev/null || true
    [ -z "$cgroup" ] || find "$cgroup" -depth -type d -exec rmdir {} +
    rm -f fabric.pid supervisor.pid cgroup.path
    exit 0
}
trap end TERM INT
if [ "$mode" = attached ]; then
    exec {owner}<&0
    cat <&"$owner" > /dev/null {lock}>&- &
    watch=$!
    wait -n "$watch" "$outer" || true
else
    wait "$outer" || true
fi
end
