#!/bin/bash
# demo: tiny on this machine, made by sgl-launch VERSION.
#
#     bash job.sh            the job: `sgl-launch job run` starts and watches all of it
#     bash job.sh PROCESS    one of its processes, on each of that process's nodes: a function below
#
# It needs bash 4.4 or newer, and sgl-launch on PATH (or its full path in SGL_LAUNCH).

set -euo pipefail

# --- The job ----------------------------------------------------------------------------------------------------
if [ $# = 0 ]; then
  JOB_ID=${SGL_JOB_ID:-L$$} RUNS=runs BASE=$PWD
  case $RUNS in /*) ;; *) RUNS=$BASE/$RUNS ;; esac
  export JOB_ID RUN="$RUNS"/demo-"$JOB_ID"
  launcher=${SGL_LAUNCH:-sgl-launch}
  shopt -s execfail # it may lack its interpreter
  if command -v "$launcher" >/dev/null; then exec "$launcher" job run "$0" || true; fi
  why="sgl-launch does not run on $HOSTNAME: put it on PATH, or its full path in SGL_LAUNCH"
  echo "FAILED: $why" >&2
  umask 027 && mkdir -p "$RUN"
  printf '{"time": '"$(date +%s)"', "stage": "stop", "state": "%s", "detail": "%s"}\n' \
    failed "$why" "done" "exit status 127" >>"$RUN/events.jsonl"
  exit 127
fi

# --- This process's place in its group ----------------------------------------------------------------------------
# `sgl-launch job run` exports NODES (a line "HOST ADDRESS INTERFACE GPUS" for each rank), GROUP, NNODES, HEAD_ADDR
# and the ports as numbers. The rank is this host's line, unless RANK is set (on one machine).
find_rank() {
  local rank=0 host address interface gpus
  export CACHES=${CACHES:-/tmp/sgl-launch-$UID} ARCHIVES=${ARCHIVES:-/tmp} # as the job has them
  while read -r host address interface gpus; do
    if [ "${RANK:-$rank}" = "$rank" ] && { [ -n "${RANK:-}" ] || [ "$host" = "${SLURMD_NODENAME:-}" ]; }; then
      export RANK=$rank NODE_ADDR=$address LAUNCH_RANK=$SCRATCH_NAME/$GROUP/$rank
      # they must take the interface that owns the address that others know ("=": no other that begins so)
      export GLOO_SOCKET_IFNAME=$interface NCCL_SOCKET_IFNAME="=$interface" NVSHMEM_BOOTSTRAP_UID_SOCK_IFNAME=$interface
      [ "$gpus" = all ] || export CUDA_VISIBLE_DEVICES=$gpus
      return
    fi
    rank=$((rank + 1))
  done <<<"$NODES"
  echo "$GROUP: this host (${SLURMD_NODENAME:-$HOSTNAME}) is none of its nodes" >&2
  exit 1
}

# --- Processes -------------------------------------------------------------------------------------------------------
scratch() {
  [ -w "${TMPDIR:-}" ] || export TMPDIR=/tmp
  SCRATCH=$TMPDIR/$SCRATCH_NAME
  mkdir -m 700 "$SCRATCH" 2>/dev/null || [ -O "$SCRATCH" ] # what runs on one node shares it
}

nats() {
  scratch
  exec nats-server \
    --addr "${NODE_ADDR}" --port "${NATS_PORT}" --jetstream --store_dir "${SCRATCH}/nats" \
    --config "${RUN}/secrets/nats.conf"
}

etcd() {
  scratch
  exec etcd \
    --name sgl-launch --data-dir "${SCRATCH}/etcd" \
    --listen-client-urls "https://${NODE_ADDR}:${ETCD_PORT}" \
    --advertise-client-urls "https://${NODE_ADDR}:${ETCD_PORT}" \
    --listen-peer-urls "https://127.0.0.1:${ETCD_PEER_PORT}" \
    --initial-advertise-peer-urls "https://127.0.0.1:${ETCD_PEER_PORT}" \
    --initial-cluster "sgl-launch=https://127.0.0.1:${ETCD_PEER_PORT}" --log-level warn \
    --cert-file "${RUN}/secrets/server.pem" --key-file "${RUN}/secrets/server.key" \
    --trusted-ca-file "${RUN}/secrets/ca.pem" --client-cert-auth \
    --peer-cert-file "${RUN}/secrets/server.pem" --peer-key-file "${RUN}/secrets/server.key" \
    --peer-trusted-ca-file "${RUN}/secrets/ca.pem" --peer-client-cert-auth
}

# What workers and frontends have in common: the config's env, and secrets from files that this user alone can read.
environment() {
  # temporary files, and caches of a HOME that takes none, go with the job; a socket's path has room for 107 bytes
  if scratch && [ ${#SCRATCH} -lt 60 ]; then TMPDIR=$SCRATCH/$GROUP-$RANK && rm -rf "$TMPDIR" && mkdir "$TMPDIR"; fi
  { echo >"${HOME:-/dev/null}/.sgl-launch-$$"; } 2>/dev/null || { scratch && export HOME=$SCRATCH; }
  rm -f "$HOME/.sgl-launch-$$"
  export NATS_SERVER="nats://${SERVICES_ADDR}:${NATS_PORT}" ETCD_ENDPOINTS="https://${SERVICES_ADDR}:${ETCD_PORT}" \
    DYN_TCP_RPC_HOST="${NODE_ADDR}" DYN_EVENT_PLANE=nats DYN_NAMESPACE="sgl-launch-${JOB_ID}"
  KEYS="${RUN}/secrets" # Dynamo wants etcd's as text and NATS's as paths
  ETCD_AUTH_CA=$(<"$KEYS/ca.pem")
  ETCD_AUTH_CLIENT_CERT=$(<"$KEYS/client.pem")
  ETCD_AUTH_CLIENT_KEY=$(<"$KEYS/client.key")
  NATS_AUTH_PASSWORD=$(<"$KEYS/nats-password")
  export ETCD_AUTH_CA ETCD_AUTH_CLIENT_CERT ETCD_AUTH_CLIENT_KEY NATS_AUTH_USERNAME=sgl-launch NATS_AUTH_PASSWORD
}

worker() {
  environment
  export DYN_TCP_RPC_PORT="${RPC_PORT}" DYN_SYSTEM_HOST="${NODE_ADDR}" DYN_SYSTEM_PORT="${SYSTEM_PORT}" \
    SGLANG_HOST_IP="${NODE_ADDR}" HOST_IP="${NODE_ADDR}" SGLANG_CUDA_COREDUMP_BEFORE_CRASH=0 \
    SGLANG_PYSPY_DUMP_BEFORE_CRASH=0 DYN_HTTP_RPC_HOST="${NODE_ADDR}" \
    DYN_SYSTEM_USE_ENDPOINT_HEALTH_STATUS='["generate"]'
}

prefill() {
  worker
  exec "${LAUNCH_PYTHON}" -m launcher.job.mocker_rank \
    --group "${GROUP}" --rank "${RANK}" --nnodes "${NNODES}" \
    --dist-init-addr "${HEAD_ADDR}:${DIST_INIT_PORT}" -- --model-path /REPO/configs/tiny-model \
    --model-name tiny --engine-type sglang --disaggregation-mode prefill \
    --bootstrap-ports "${BOOTSTRAP_PORT}" --sglang-page-size 16 --sglang-chunked-prefill-size 4096 \
    --speedup-ratio 10
}

decode() {
  worker
  exec "${LAUNCH_PYTHON}" -m launcher.job.mocker_rank \
    --group "${GROUP}" --rank "${RANK}" --nnodes "${NNODES}" \
    --dist-init-addr "${HEAD_ADDR}:${DIST_INIT_PORT}" -- --model-path /REPO/configs/tiny-model \
    --model-name tiny --engine-type sglang --disaggregation-mode decode --sglang-page-size 16 \
    --max-num-seqs 16 --speedup-ratio 10
}

frontend() {
  environment
  export DYN_HTTP_GRACEFUL_SHUTDOWN_TIMEOUT_SECS=60 DYN_DISABLE_FRONTEND_ADMIN_API=1 DYN_HTTP_HOST=127.0.0.1
  exec "${LAUNCH_PYTHON}" -m dynamo.frontend \
    --http-port "${FRONTEND_PORT}" --migration-limit 3 --router-mode kv
}

front() { scratch && XDG_DATA_HOME=$SCRATCH exec caddy run --config "$RUN/secrets/$GROUP.json"; } # asks for the key

case $1 in
  nats | etcd | prefill | decode | frontend | front) find_rank; "$1" ;;
  *) echo "usage: $0 (the job), or inside it $0 nats | etcd | prefill | decode | frontend | front" >&2 && exit 2 ;;
esac

# --- The plan, which `sgl-launch job run` reads (docs/plan.md) ----------------------------------------------------------
: <<'END_OF_PLAN'
{"schema": 1, "name": "demo", "engine": "mocker", "cluster": "local", "nodes": 1, "spare_nodes": 0, "gpus_per_node": 4,
 "model": {"path": "/REPO/configs/tiny-model", "served_name": "tiny"},
 "ports": {"base": "auto", "block": 256, "first": 20000, "last": 32767},
 "services": {"nats": {"node": 0, "port": "P+0"}, "etcd": {"node": 0, "port": "P+1"}},
 "frontend": {"node": 0, "port": "P+5", "balanced": true, "replicas": [{"name": "frontend", "node": 0, "port": "P+3"}]},
 "health": null,
 "groups": [
  {"name": "prefill-0", "role": "prefill", "index": 0, "nodes": [0], "gpus": 1, "ports": {"dist_init": "P+16", "bootstrap": "P+30", "system": "P+31", "rpc": "P+32", "http": "P+33", "nccl": "P+34"}},
  {"name": "prefill-1", "role": "prefill", "index": 1, "nodes": [0], "gpus": 1, "ports": {"dist_init": "P+40", "bootstrap": "P+54", "system": "P+55", "rpc": "P+56", "http": "P+57", "nccl": "P+58"}},
  {"name": "decode-0", "role": "decode", "index": 0, "nodes": [0], "gpus": 1, "ports": {"dist_init": "P+64", "system": "P+79", "rpc": "P+80", "http": "P+81", "nccl": "P+82"}},
  {"name": "decode-1", "role": "decode", "index": 1, "nodes": [0], "gpus": 1, "ports": {"dist_init": "P+88", "system": "P+103", "rpc": "P+104", "http": "P+105", "nccl": "P+106"}}
 ],
 "config": {
  "name": "demo", "engine": "mocker", "model": {"path": "/REPO/configs/tiny-model", "served_name": "tiny"},
  "slurm": {"gpus_per_node": 4},
  "prefill": {"workers": 2, "args": {"tp-size": 1, "page-size": 16, "chunked-prefill-size": 4096}},
  "decode": {"workers": 2, "args": {"tp-size": 1, "page-size": 16, "max-running-requests": 16}},
  "mocker": {"speedup-ratio": 10}, "frontend": {"port": "auto", "router_mode": "kv"},
  "warmup": {"requests": {"prompt_tokens": [64, 512], "concurrency": [8], "output_tokens": [16], "timeout": 60.0}}
 }}
END_OF_PLAN
