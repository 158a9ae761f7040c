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
  export HF_HUB_OFFLINE=1
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
    --model-path /tmp/dsv3-2l --served-model-name dsv3-2l \
    --dist-init-addr "${HEAD_ADDR}:${DIST_INIT_PORT}" --nnodes "${NNODES}" --node-rank "${RANK}" \
    --host "${NODE_ADDR}" --port "${HTTP_PORT}" --nccl-port "${NCCL_PORT}" \
    --disaggregation-mode prefill --disaggregation-transfer-backend nixl \
    --disaggregation-bootstrap-port "${BOOTSTRAP_PORT}" --tp-size 1 --load-format dummy \
    --attention-backend triton --sampling-backend pytorch --grammar-backend none \
    --disable-cuda-graph --page-size 16 --mem-fraction-static 0.3 --chunked-prefill-size 4096 \
    --context-length 16384 --watchdog-timeout 1800
}

decode() {
  worker
  exec python3 -m dynamo.sglang \
    --model-path /tmp/dsv3-2l --served-model-name dsv3-2l \
    --dist-init-addr "${HEAD_ADDR}:${DIST_INIT_PORT}" --nnodes "${NNODES}" --node-rank "${RANK}" \
    --host "${NODE_ADDR}" --port "${HTTP_PORT}" --nccl-port "${NCCL_PORT}" \
    --disaggregation-mode decode --disaggregation-transfer-backend nixl --tp-size 1 \
    --load-format dummy --attention-backend triton --sampling-backend pytorch --grammar-backend none \
    --disable-cuda-graph --page-size 16 --mem-fraction-static 0.3 --chunked-prefill-size 4096 \
    --context-length 16384 --watchdog-timeout 1800
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
  export HF_HUB_OFFLINE=1
  PYTHONPATH=$RUN/python${PYTHONPATH:+:$PYTHONPATH} exec python3 -m warmup.kernels "$KERNELS_DO" "$RUN/kernels.json"
}

case $1 in
  nats | etcd | prefill | decode | frontend | front | kernels) find_rank; "$1" ;;
  *) echo "usage: $0 (the job), or inside it $0 nats | etcd | prefill | decode | frontend | front | kernels" >&2 && exit 2 ;;
esac

