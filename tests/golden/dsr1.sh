#!/bin/bash
# dsr1: deepseek-ai/DeepSeek-R1 on 6 nodes, made by sgl-launch VERSION.
#
#     sbatch job.sh          the job: `sgl-launch job run` on its first node starts and watches all of it
#     bash job.sh PROCESS    one of its processes, on each of that process's nodes: a function below
#
# It needs bash 4.4, Slurm 22.05 or newer, and sgl-launch on PATH of the first node (or its full path in SGL_LAUNCH).
# The other nodes and the containers need nothing of sgl-launch. Outside its run folder it writes only to a scratch
# folder below TMPDIR or /tmp of its nodes, which goes when the job ends, and to /tmp/sgl-launch-kernels-UID.
#SBATCH --job-name=dsr1
#SBATCH --nodes=6
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --time=04:00:00
#SBATCH --exclusive
#SBATCH --mem=0

set -euo pipefail

# --- The job ----------------------------------------------------------------------------------------------------
if [ $# = 0 ]; then
  JOB_ID=$SLURM_JOB_ID RUNS=runs BASE=$SLURM_SUBMIT_DIR
  case $RUNS in /*) ;; *) RUNS=$BASE/$RUNS ;; esac
  export JOB_ID RUN="$RUNS"/dsr1-"$JOB_ID"
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
  export MC_TE_METRIC=true SGLANG_TBO_DEBUG=1
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
    SGLANG_PYSPY_DUMP_BEFORE_CRASH=0 SGLANG_DG_CACHE_DIR="${CACHES}/deepgemm" \
    TRITON_CACHE_DIR="${CACHES}/triton" TORCHINDUCTOR_CACHE_DIR="${CACHES}/inductor" \
    TORCH_EXTENSIONS_DIR="${CACHES}/torch-extensions" FLASHINFER_WORKSPACE_BASE="${CACHES}/flashinfer" \
    TVM_FFI_CACHE_DIR="${CACHES}/tvm-ffi" SGLANG_CACHE_DIR="${CACHES}/sglang" \
    SGLANG_JIT_CACHE_DIR="${CACHES}/sglang/jit" CUTE_DSL_CACHE_DIR="${CACHES}/cute-dsl" \
    FLASH_ATTENTION_CUTE_DSL_CACHE_DIR="${CACHES}/flash-attention" TILELANG_CACHE_DIR="${CACHES}/tilelang" \
    EP_JIT_CACHE_DIR="${CACHES}/deepep" CUDA_CACHE_PATH="${CACHES}/cuda" HF_MODULES_CACHE="${CACHES}/hf-modules"
}

prefill() {
  worker
  exec python3 -m dynamo.sglang \
    --model-path '<the folder of DeepSeek-R1, as the workers see it>' \
    --served-model-name deepseek-ai/DeepSeek-R1 --dist-init-addr "${HEAD_ADDR}:${DIST_INIT_PORT}" \
    --nnodes "${NNODES}" --node-rank "${RANK}" --host "${NODE_ADDR}" --port "${HTTP_PORT}" \
    --nccl-port "${NCCL_PORT}" --disaggregation-mode prefill \
    --disaggregation-bootstrap-port "${BOOTSTRAP_PORT}" --tp-size 16 --dp-size 16 \
    --enable-dp-attention --moe-a2a-backend deepep --deepep-mode normal --skip-tokenizer-init \
    --disaggregation-transfer-backend nixl --decode-log-interval 1 --page-size 1 --trust-remote-code \
    --moe-dense-tp-size 1 --enable-dp-lm-head --disable-radix-cache --watchdog-timeout 1000000 \
    --enable-two-batch-overlap --mem-fraction-static 0.85 --chunked-prefill-size 524288 \
    --ep-num-redundant-experts 32 --ep-dispatch-algorithm dynamic --eplb-algorithm deepseek
}

decode() {
  worker
  exec python3 -m dynamo.sglang \
    --model-path '<the folder of DeepSeek-R1, as the workers see it>' \
    --served-model-name deepseek-ai/DeepSeek-R1 --dist-init-addr "${HEAD_ADDR}:${DIST_INIT_PORT}" \
    --nnodes "${NNODES}" --node-rank "${RANK}" --host "${NODE_ADDR}" --port "${HTTP_PORT}" \
    --nccl-port "${NCCL_PORT}" --disaggregation-mode decode --tp-size 32 --dp-size 32 \
    --enable-dp-attention --moe-a2a-backend deepep --deepep-mode low_latency --skip-tokenizer-init \
    --disaggregation-transfer-backend nixl --decode-log-interval 1 --page-size 1 --trust-remote-code \
    --moe-dense-tp-size 1 --enable-dp-lm-head --disable-radix-cache --watchdog-timeout 1000000 \
    --enable-two-batch-overlap --mem-fraction-static 0.835 --ep-num-redundant-experts 32 \
    --cuda-graph-bs-decode 256
}

frontend() {
  environment
  export DYN_HTTP_GRACEFUL_SHUTDOWN_TIMEOUT_SECS=60 DYN_DISABLE_FRONTEND_ADMIN_API=1 DYN_HTTP_HOST=127.0.0.1
  exec python3 -m dynamo.frontend \
    --http-port "${FRONTEND_PORT}" --migration-limit 3
}

front() { scratch && XDG_DATA_HOME=$SCRATCH exec caddy run --config "$RUN/secrets/$GROUP.json"; } # asks for the key

# What compilers keep: brought here from the archive (ensure builds what that lacks), or added to it (merge-back).
kernels() {
  export MC_TE_METRIC=true SGLANG_TBO_DEBUG=1
  PYTHONPATH=$RUN/python${PYTHONPATH:+:$PYTHONPATH} exec python3 -m warmup.kernels "$KERNELS_DO" "$RUN/kernels.json"
}

case $1 in
  nats | etcd | prefill | decode | frontend | front | kernels) find_rank; "$1" ;;
  *) echo "usage: $0 (the job), or inside it $0 nats | etcd | prefill | decode | frontend | front | kernels" >&2 && exit 2 ;;
esac

# --- The plan, which `sgl-launch job run` reads (docs/plan.md) ----------------------------------------------------------
: <<'END_OF_PLAN'
{"schema": 1, "name": "dsr1", "engine": "dynamo", "cluster": "slurm", "nodes": 6, "spare_nodes": 0, "gpus_per_node": 8,
 "model": {"path": "<the folder of DeepSeek-R1, as the workers see it>", "served_name": "deepseek-ai/DeepSeek-R1"},
 "ports": {"base": "auto", "block": 256, "first": 20000, "last": 32767},
 "services": {"nats": {"node": 0, "port": "P+0"}, "etcd": {"node": 0, "port": "P+1"}},
 "frontend": {"node": 0, "port": 8000, "balanced": true, "replicas": [{"name": "frontend", "node": 0, "port": "P+3"}]},
 "health": null,
 "groups": [
  {"name": "prefill-0", "role": "prefill", "index": 0, "nodes": [0, 1], "gpus": 16, "ports": {"dist_init": "P+16", "bootstrap": 30001, "system": "P+31", "rpc": "P+32", "http": "P+33", "nccl": "P+34"}},
  {"name": "decode-0", "role": "decode", "index": 0, "nodes": [2, 3, 4, 5], "gpus": 32, "ports": {"dist_init": "P+16", "system": "P+31", "rpc": "P+32", "http": "P+33", "nccl": "P+34"}}
 ],
 "config": {
  "name": "dsr1",
  "model": {"path": "<the folder of DeepSeek-R1, as the workers see it>", "served_name": "deepseek-ai/DeepSeek-R1"},
  "sglang_version": "0.5.16", "slurm": {"time": "04:00:00", "exclusive": true, "mem": 0}, "ports": {"bootstrap": 30001},
  "prefill": {"args": {"tp-size": 16, "dp-size": 16, "enable-dp-attention": true, "moe-a2a-backend": "deepep", "deepep-mode": "normal", "skip-tokenizer-init": true, "disaggregation-transfer-backend": "nixl", "decode-log-interval": 1, "page-size": 1, "trust-remote-code": true, "moe-dense-tp-size": 1, "enable-dp-lm-head": true, "disable-radix-cache": true, "watchdog-timeout": 1000000, "enable-two-batch-overlap": true, "mem-fraction-static": 0.85, "chunked-prefill-size": 524288, "ep-num-redundant-experts": 32, "ep-dispatch-algorithm": "dynamic", "eplb-algorithm": "deepseek"}},
  "decode": {"args": {"tp-size": 32, "dp-size": 32, "enable-dp-attention": true, "moe-a2a-backend": "deepep", "deepep-mode": "low_latency", "skip-tokenizer-init": true, "disaggregation-transfer-backend": "nixl", "decode-log-interval": 1, "page-size": 1, "trust-remote-code": true, "moe-dense-tp-size": 1, "enable-dp-lm-head": true, "disable-radix-cache": true, "watchdog-timeout": 1000000, "enable-two-batch-overlap": true, "mem-fraction-static": 0.835, "ep-num-redundant-experts": 32, "cuda-graph-bs-decode": 256}},
  "env": {"MC_TE_METRIC": "true", "SGLANG_TBO_DEBUG": "1"}
 }}
END_OF_PLAN
