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
  export HF_HUB_OFFLINE=1 SGLANG_USE_CPU_ENGINE=1 UCX_TLS=tcp,shm,cma,self UCX_NET_DEVICES=lo \
    SGLANG_CPU_OMP_THREADS_BIND='0|1'
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
    SGLANG_PYSPY_DUMP_BEFORE_CRASH=0
}

aggregated() {
  worker
  exec /REPO/.venv-sglang/bin/python -m dynamo.sglang \
    --model-path /REPO/.venv-sglang/tiny-model --served-model-name tiny \
    --dist-init-addr "${HEAD_ADDR}:${DIST_INIT_PORT}" --nnodes "${NNODES}" --node-rank "${RANK}" \
    --host "${NODE_ADDR}" --port "${HTTP_PORT}" --nccl-port "${NCCL_PORT}" --tp-size 2 --device cpu \
    --attention-backend torch_native --sampling-backend pytorch --disable-overlap-schedule \
    --mem-fraction-static 0.1 --max-total-tokens 4096 --page-size 16
}

frontend() {
  environment
  export DYN_HTTP_GRACEFUL_SHUTDOWN_TIMEOUT_SECS=60 DYN_DISABLE_FRONTEND_ADMIN_API=1 DYN_HTTP_HOST=127.0.0.1
  exec /REPO/.venv-sglang/bin/python -m dynamo.frontend \
    --http-port "${FRONTEND_PORT}" --migration-limit 3
}

front() { scratch && XDG_DATA_HOME=$SCRATCH exec caddy run --config "$RUN/secrets/$GROUP.json"; } # asks for the key

case $1 in
  nats | etcd | aggregated | frontend | front) find_rank; "$1" ;;
  *) echo "usage: $0 (the job), or inside it $0 nats | etcd | aggregated | frontend | front" >&2 && exit 2 ;;
esac

