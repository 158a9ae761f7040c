# shellcheck shell=bash disable=SC2034  # sourced by the other scripts
# The cluster's network: it exists only inside the cluster's own namespaces. Addresses of nodes come from Python.
NETWORK=10.77.0.0/16
GATEWAY=10.77.255.254
GATEWAY_MAC=02:00:00:00:00:fe
NODE_MAC=02:00:00:00:00:01      # every node may have the same: links are point to point
