# --- Processes -------------------------------------------------------------------------------------------------------
scratch() {
  [ -w "${TMPDIR:-}" ] || export TMPDIR=/tmp
  SCRATCH=$TMPDIR/$SCRATCH_NAME
  mkdir -m 700 "$SCRATCH" 2>/dev/null || [ -O "$SCRATCH" ] # what runs on one node shares it
}

# What workers and frontends have in common: the config's env.
environment() {
  # temporary files, and caches of a HOME that takes none, go with the job; a socket's path has room for 107 bytes
  if scratch && [ ${#SCRATCH} -lt 60 ]; then TMPDIR=$SCRATCH/$GROUP-$RANK && rm -rf "$TMPDIR" && mkdir "$TMPDIR"; fi
  { echo >"${HOME:-/dev/null}/.sgl-launch-$$"; } 2>/dev/null || { scratch && export HOME=$SCRATCH; }
  rm -f "$HOME/.sgl-launch-$$"
  export HF_HUB_OFFLINE=1 SGLANG_USE_CPU_ENGINE=1 UCX_TLS=tcp,shm,cma,self UCX_NET_DEVICES=lo
}

worker() {
  environment
  export SGLANG_HOST_IP="${NODE_ADDR}" HOST_IP="${NODE_ADDR}" SGLANG_CUDA_COREDUMP_BEFORE_CRASH=0 \
    SGLANG_PYSPY_DUMP_BEFORE_CRASH=0
}

prefill() {
  worker
  exec /REPO/.venv-sglang/bin/python -m sglang.launch_server \
    --model-path /REPO/.venv-sglang/tiny-model --served-model-name tiny \
    --dist-init-addr "${HEAD_ADDR}:${DIST_INIT_PORT}" --nnodes "${NNODES}" --node-rank "${RANK}" \
    --host "${NODE_ADDR}" --port "${HTTP_PORT}" --nccl-port "${NCCL_PORT}" \
    --disaggregation-mode prefill --disaggregation-transfer-backend nixl \
    --disaggregation-bootstrap-port "${BOOTSTRAP_PORT}" --config "${RUN}/secrets/worker.yaml" \
    --device cpu --attention-backend torch_native --sampling-backend pytorch \
    --disable-overlap-schedule --mem-fraction-static 0.1 --max-total-tokens 4096 --page-size 16
}

decode() {
  worker
  exec /REPO/.venv-sglang/bin/python -m sglang.launch_server \
    --model-path /REPO/.venv-sglang/tiny-model --served-model-name tiny \
    --dist-init-addr "${HEAD_ADDR}:${DIST_INIT_PORT}" --nnodes "${NNODES}" --node-rank "${RANK}" \
    --host "${NODE_ADDR}" --port "${HTTP_PORT}" --nccl-port "${NCCL_PORT}" \
    --disaggregation-mode decode --disaggregation-transfer-backend nixl \
    --config "${RUN}/secrets/worker.yaml" --device cpu --attention-backend torch_native \
    --sampling-backend pytorch --disable-overlap-schedule --mem-fraction-static 0.1 \
    --max-total-tokens 4096 --page-size 16 --disaggregation-decode-retraction-backup none
}

frontend() {
  environment
  exec /REPO/.venv-sglang/bin/python -c 'import runpy,sys; key,name=sys.argv[1:3]; sys.argv[1:3]=["--api-key",open(key).read()]; runpy.run_module(name,run_name="__main__",alter_sys=True)' "${RUN}/secrets/worker-key" sglang_router.launch_router \
    --pd-disaggregation \
    --prefill "http://${PREFILL_0_ADDR}:${PREFILL_0_HTTP_PORT}" "${PREFILL_0_BOOTSTRAP_PORT}" \
    --decode "http://${DECODE_0_ADDR}:${DECODE_0_HTTP_PORT}" --host 127.0.0.1 \
    --port "${FRONTEND_PORT}" --prometheus-host 127.0.0.1 --prometheus-port "${METRICS_PORT}" \
    --worker-startup-check-interval 1 --worker-startup-timeout-secs 300
}

front() { scratch && XDG_DATA_HOME=$SCRATCH exec caddy run --config "$RUN/secrets/$GROUP.json"; } # asks for the key

case $1 in
  prefill | decode | frontend | front) find_rank; "$1" ;;
  *) echo "usage: $0 (the job), or inside it $0 prefill | decode | frontend | front" >&2 && exit 2 ;;
esac

