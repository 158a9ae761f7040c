#!/bin/bash
# PID 1 of the whole cluster, in mount, net, ipc, uts and pid namespaces of its own. Killing it ends everything.
# Its network namespace is the fabric: a router that every node hangs on. Reads /run/rig/nodes: "NAME ADDRESS ROLE".
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=network.sh
. "$here/network.sh"
mount --make-rprivate /
mount --bind /run/rig/etc/hosts /etc/hosts
mkdir -p /etc/slurm
mount --bind /run/rig/etc /etc/slurm
echo fabric > /proc/sys/kernel/hostname
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward

# One point-to-point link a node, with /32 routes and fixed neighbours. A bridge would do up to some 30 nodes;
# then N x N ARP entries overflow the kernel's neighbour table, which all network namespaces share.
# Links are numbered: their names end at 15 characters, node names need not.
number=0
while read -r name address _; do
    number=$((number + 1))
    echo "netns add $name"
    echo "link add v$number address $GATEWAY_MAC type veth peer name eth0 address $NODE_MAC netns $name"
    echo "link set v$number up"
    echo "addr add $GATEWAY/32 dev v$number"
    echo "neigh add $address lladdr $NODE_MAC dev v$number nud permanent"
    echo "route add $address/32 dev v$number"
done < /run/rig/nodes | ip -batch -

while read -r name address role; do
    "$here/node-start.sh" "$name" "$address" "$role"
done < /run/rig/nodes
touch /run/rig/fabric.up

# Wait without a child process, so that every `sleep` on a node is somebody else's. Bash reaps orphans meanwhile.
exec {never}<> <(:)
trap 'exit 0' TERM
while :; do read -r -u "$never" || true; done
