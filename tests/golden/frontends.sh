#!/bin/bash
# frontends: deepseek-ai/DeepSeek-R1 on 7 nodes, made by sgl-launch VERSION.
#
# Submit it with `sbatch` from a folder that every node sees. It needs bash 4.4 or newer, Slurm
# 22.05 or newer, and the command sgl-launch on PATH (or its full path in SGL_LAUNCH).
# Stages, from top to bottom: who, ports, keys, services, workers, frontend, ready, warm-up, serve;
# stop. Start reading at "Stages".
#SBATCH --job-name=frontends
#SBATCH --nodes=7
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --partition=h100
#SBATCH --time=04:00:00
#SBATCH --exclusive
#SBATCH --mem=0

set -euo pipefail

export JOB_ID=$SLURM_JOB_ID
RUNS=runs
case $RUNS in /*) ;; *) RUNS=$SLURM_SUBMIT_DIR/$RUNS ;; esac
RUN=$RUNS/frontends-$JOB_ID
# Steps get the job's whole environment, whatever --export the job itself was submitted with.
export SLURM_EXPORT_ENV=ALL
# What a step inherits from the batch step's own resources would only limit it.
unset SLURM_CPU_BIND SLURM_MEM_PER_CPU SLURM_MEM_PER_GPU SLURM_MEM_PER_NODE SLURM_CPUS_PER_TASK \
  SLURM_TRES_PER_TASK SLURM_NTASKS_PER_NODE SLURM_NTASKS

# --- What is said and recorded ------------------------------------------------------------------------
# A full disk loses these lines, not the job: hence each `|| true`. And all is done by bash itself: when
# Slurm ends the job, it signals every process, and a `date` or `tee` would be ended before it has written.
# say TEXT: one line for people, in the job's output and in logs/job.log.
say() {
  local line
  printf -v line '%(%H:%M:%S)T  %s\n' -1 "$*"
  printf '%s' "$line" >&2 || true
  printf '%s' "$line" >>"$RUN/logs/job.log" || true
}

# event STAGE STATE [DETAIL]: one line for machines, in events.jsonl.
event() {
  local detail=${3:-} now
  detail=${detail//\\/\\\\} && detail=${detail//\"/\\\"} && detail=${detail//$'\n'/\\n}
  printf -v now '%(%s)T' -1
  now=${EPOCHREALTIME:-$now} # bash 5 and newer: with microseconds
  printf '{"time": %s, "stage": "%s", "state": "%s", "detail": "%s"}\n' \
    "${now/,/.}" "$1" "$2" "${detail//[[:cntrl:]]/ }" >>"$RUN/events.jsonl" || true
}

# stage NAME: the job is at this stage from now on.
STAGE=
stage() {
  [ -z "$STAGE" ] || event "$STAGE" "done"
  STAGE=$1
  event "$STAGE" started
  say "$STAGE ..."
}

# fail TEXT [STATUS]: says why, and ends the job with that exit status (1 if it would be 0).
FAILED='' SETTLED=''
fail() {
  local code=${2:-1}
  [ -n "$SETTLED" ] || pause # it may have failed because the job is being ended: then this script's own TERM is near
  [ "$code" != 0 ] || code=1
  FAILED=$1
  event "$STAGE" failed "$1"
  say "FAILED: $1"
  exit "$code"
}

# run_step NAME "NODE NODE ..." BODY: runs BODY (bash) on each of the nodes, as one job step. If one
# task fails, Slurm ends the others. Rank n's output is in logs/NAME-n.log, srun's in logs/NAME.srun.
run_step() {
  local name=$1 body=$3 node hosts='' count=0 code=0 asks=0 srun='' first
  trap 'asks=$((asks + 1)); [ -z "$srun" ] || end_step "$name" "$srun" "$asks"' TERM
  for node in $2; do hosts+=${hosts:+,}${HOST[node]} count=$((count + 1)); done
  rm -f "$RUN/steps/$name"
  srun --job-name="$name" --overlap --nodelist="$hosts" --nodes="$count" --ntasks="$count" \
    --ntasks-per-node=1 --kill-on-bad-exit=1 --wait=3 --mem=0 --cpu-bind=none --unbuffered --open-mode=append \
    --container-image=/images/sglang-dynamo-deepep.sqsh \
    --container-mounts=/models/DeepSeek-R1:/model,"${RUN}:${RUN}" \
    --no-container-mount-home \
    --output="$RUN/logs/$name-%t.log" \
    bash -c "$body" "$name" </dev/null 2>>"$RUN/logs/$name.srun" &
  srun=$!
  [ "$asks" = 0 ] || end_step "$name" "$srun" "$asks"
  wait "$srun" || code=$?
  while kill -0 "$srun" 2>/dev/null; do code=0 && wait "$srun" || code=$?; done
  # with a failure, srun's own status is the highest of all tasks; ours is that of the first to fail
  read -r _ _ first <<<"$(step_failure "$name")" || true
  return "${first:-$code}"
}

# end_step NAME SRUN TIME: asks a step's processes to end; the second time by force, by a TERM to its
# srun, which kills them at once. A node that is gone lets srun wait even then: the third time is for
# srun itself. (After scancel Slurm refuses to ask them again: they know.)
end_step() {
  local id
  id=$(cat "$RUN/steps/$1" 2>/dev/null) || true
  case ${id:+step}$3 in
    step1) timeout 3 scancel --signal=TERM "$JOB_ID.$id" 2>/dev/null || true ;;
    1 | *2) kill -TERM "$2" 2>/dev/null || true ;;
    *) kill -KILL "$2" 2>/dev/null || true ;;
  esac
}

# step_failure NAME: prints "HOST RANK STATUS" of the task of that step that failed first, as srun
# tells it: "srun: error: n003: task 1: Exited with exit code 1".
step_failure() {
  local line
  line=$(grep -m1 -E 'error: [^ ]+: tasks? [0-9]' "$RUN/logs/$1.srun" 2>/dev/null) || return 0
  [[ $line =~ error:\ ([^ ]+):\ tasks?\ ([0-9]+)[^:]*:\ (.*) ]] || return 0
  set -- "${BASH_REMATCH[@]}"
  case $4 in
    *"exit code "*) echo "$2 $3 ${4##*exit code }" ;;
    Killed*) echo "$2 $3 137" ;;
    *) echo "$2 $3" ;;
  esac
}

# --- The processes that this script started ----------------------------------------------------------
GRACE=8 GRACE=${GRACE%.*}
declare -A PID=() TIER=() NODES=()
NAMES=() # in the order of their start: what fails first is a cause of what fails later

# clock: NOW is in seconds since this machine's start, which no change of its date moves.
clock() { read -r NOW _ </proc/uptime && NOW=${NOW%.*}; }

# pause [SECONDS]: half a second, during which a signal is answered at once.
pause() {
  sleep "${1:-0.5}" &
  wait "$!" || true
}

# start NAME TIER "NODE NODE ..." BODY: starts a step under a name, in the background. TIER is
# frontend, worker or service: what is stopped together.
start() {
  event "$1" started "$(hosts_of "$3")"
  if [ "$2" = worker ]; then keep_worker "$1" "$3" "$4" & else run_step "$1" "$3" "$4" & fi
  PID[$1]=$! TIER[$1]=$2 NODES[$1]=$3 NAMES+=("$1")
}

hosts_of() { # hosts_of "NODE NODE ..."
  local node hosts=''
  for node in $1; do hosts+=${hosts:+ }${HOST[node]}; done
  printf '%s' "$hosts"
}

# keep_worker NAME NODES BODY: a worker group. Once the deployment has been ready, a group that ends
# is started again (at most 3 times, after a pause that doubles); the others keep serving.
# SIGUSR1 says that the group is lost (its node does not answer, or it was started again and does not
# serve): then its step is ended first.
keep_worker() {
  local name=$1 code tries=0 stopping='' lost step='' rejoin=''
  echo "$BASHPID" >"$RUN/steps/$name.keeper" || true
  trap 'stopping=1; kill -TERM ${step:+"$step"} ${rejoin:+"$rejoin"} 2>/dev/null || true' TERM
  trap 'lost=1' USR1
  while :; do
    code=0 lost=''
    rm -f "$RUN/logs/$name.srun" "$RUN/logs/$name.failed"
    run_step "$@" &
    step=$!
    wait "$step" || code=$?
    while kill -0 "$step" 2>/dev/null; do
      if [ -n "$lost" ]; then kill -TERM "$step" 2>/dev/null && pause 1.5 || true; else code=0 && wait "$step" || code=$?; fi
    done
    [ -z "$lost" ] || { code=0 && wait "$step" || code=$?; } # SIGUSR1 had cut the first wait short
    # not if the job is stopping, or its script was killed
    if [ -n "$stopping" ] || ! kill -0 $$ 2>/dev/null || [ ! -e "$RUN/endpoint.json" ] || [ "$tries" -ge 3 ]; then
      exit "$code"
    fi
    [ -z "$rejoin" ] || kill -TERM "$rejoin" 2>/dev/null || true
    tries=$((tries + 1))
    event "$name" restarting "exit status $code, restart $tries"
    say "$name ended (exit status $code); restart $tries, the other workers go on serving"
    # takes it off the frontend's list, waits for the new one, has it answer and warms it; sends SIGUSR1
    # if that does not come to an end
    "$SGL_LAUNCH" job rejoin "$RUN" "$name" </dev/null &
    rejoin=$!
    pause $((2 ** (tries - 1)))
    [ -z "$stopping" ] || exit "$code"
  done
}

alive() { kill -0 "${PID[$1]:-none}" 2>/dev/null; }

# died NAME: this process was not meant to end. Names it, its node and its log, with its last lines.
# An exit status of 0 is a failure too: Dynamo's processes exit 0 when they lose etcd.
died() {
  local name=$1 code=0 host rank log
  wait "${PID[$name]}" || code=$?
  pause # it may have ended because the job is being ended: then this script's own TERM is near
  SETTLED=1
  read -r host rank _ <<<"$(step_failure "$name")" || true
  host=${host:-$(hosts_of "${NODES[$name]}")} log=$RUN/logs/$name-${rank:-0}.log
  unset "PID[$name]"
  [ ! -s "$log" ] || say "last lines of $log:"$'\n'"$(tail -n 8 "$log")"
  [ ! -s "$RUN/logs/$name.srun" ] || say "srun of $name said: $(grep -m 3 error "$RUN/logs/$name.srun" || true)"
  fail "$name${rank:+ (rank $rank)} ended with exit status $code on ${host% }; its log: $log" "$code"
}

# watch [EXCEPT]: fails if any process has ended, but for EXCEPT.
watch() {
  local name
  for name in "${NAMES[@]}"; do
    [ "$name" = "${1:-}" ] || [ -z "${PID[$name]:-}" ] || alive "$name" || died "$name"
  done
}

# await NAME: waits until this process has ended, watches all others meanwhile, returns its status.
await() {
  local code=0
  while alive "$1"; do
    watch "$1"
    pause
  done
  wait "${PID[$1]}" || code=$?
  unset "PID[$1]"
  return "$code"
}

# helper NAME ARGUMENTS: runs a part of sgl-launch on this node, waits for it, returns its status.
helper() {
  start_helper "$@"
  await "$1"
}
start_helper() {
  local name=$1
  "$SGL_LAUNCH" job "$@" </dev/null &
  PID[$name]=$! TIER[$name]=helper
}

# --- Stop: whatever ends the job ----------------------------------------------------------------------
# Frontend, workers, services: a tier is asked to end when the one before it has, or has had its part of
# GRACE. What is there after GRACE seconds is ended by force.
ask() { # ask TIER: asks its processes to end; by force if they were asked before
  local name
  for name in "${!PID[@]}"; do [ "${TIER[$name]}" != "$1" ] || kill -TERM "${PID[$name]}" 2>/dev/null || true; done
}

wait_tiers() { # wait_tiers DEADLINE TIER...: waits until none of their processes is left, or until then
  local name deadline=$1
  for name in "${!PID[@]}"; do
    case " ${*:2} " in *" ${TIER[$name]} "*) ;; *) continue ;; esac
    while clock && alive "$name" && [ "$NOW" -lt "$deadline" ]; do sleep 0.1; done
    alive "$name" || unset "PID[$name]"
  done
}

stop() {
  local code=$? begin
  trap '' TERM INT USR2
  trap - EXIT
  set +e
  [ -n "$FAILED" ] || event "$STAGE" "done"
  event stop started "exit status $code"
  rm -f "$RUN/endpoint.json" # workers that end now are not started again
  clock
  ask helper
  ask frontend
  [ -z "${DRAIN:-}" ] || wait_tiers $((NOW + DRAIN)) frontend
  clock
  begin=$NOW
  wait_tiers $((begin + GRACE / 4)) helper frontend
  rm -f "$RUN/endpoint.json" # a helper may just have written it
  ask worker
  wait_tiers $((begin + GRACE * 7 / 8)) worker
  ask service
  wait_tiers $((begin + GRACE)) helper frontend worker service
  if [ "${#PID[@]}" -gt 0 ]; then
    say "did not end within $GRACE s and is killed: ${!PID[*]}"
    for name in "${!PID[@]}"; do kill -TERM "${PID[$name]}" 2>/dev/null; done
    wait_tiers $((NOW + 2)) helper frontend worker service
  fi
  rm -rf "$RUN/secrets" "${TMPDIR:-/tmp}/$SCRATCH_NAME"-*
  event stop "done" "exit status $code"
  say "stopped, exit status $code${FAILED:+: $FAILED}"
  exit "$code"
}

# asked SIGNAL STATUS: somebody asked the job to end.
asked() {
  FAILED="ended by SIG$1"
  event "$STAGE" cancelled "SIG$1"
  say "SIG$1: stopping"
  exit "$2"
}

# drain: the time is nearly over. No new requests, those that run may finish, then a normal end.
drain() {
  DRAIN=60 DRAIN=${DRAIN%.*}
  say "SIGUSR2: draining for at most $DRAIN s"
  event "$STAGE" drained SIGUSR2
  FAILED="drained before its time was over"
  exit 0
}

# --- Run folder --------------------------------------------------------------------------------------
umask 027
# What an earlier attempt of this job left here (it was requeued), or a job of the same number (the
# cluster's numbers began anew), is kept in attempts/.
if [ -s "$RUN/events.jsonl" ]; then
  earlier=$RUN/attempts/$((${SLURM_RESTART_COUNT:-0} - 1))
  [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] || earlier=$RUN/attempts/before-$(date +%Y%m%dT%H%M%S)
  mkdir -p "$earlier"
  for file in events.jsonl plan.json job.sh hosts who spares placement.json endpoint.json reason processes warmup.json steps logs; do
    [ ! -e "$RUN/$file" ] || mv "$RUN/$file" "$earlier/"
  done
fi
rm -rf "$RUN/secrets"
mkdir -p "$RUN/logs" "$RUN/steps"
trap stop EXIT
trap 'asked TERM 143' TERM
trap 'asked INT 130' INT
trap drain USR2
cp -- "$0" "$RUN/job.sh" 2>/dev/null || true
cat >"$RUN/plan.json" <<'END_OF_PLAN'
{
 "schema": 1,
 "name": "frontends",
 "engine": "dynamo",
 "cluster": "slurm",
 "nodes": 7,
 "spare_nodes": 0,
 "gpus_per_node": 8,
 "model": {"path": "/model", "served_name": "deepseek-ai/DeepSeek-R1"},
 "ports": {"base": "auto", "block": 256, "first": 20000, "last": 32767},
 "groups": [
  {"name": "prefill-0", "role": "prefill", "index": 0, "nodes": [0, 1], "ranks": [{"rank": 0, "node": 0, "gpus": [0, 1, 2, 3, 4, 5, 6, 7]}, {"rank": 1, "node": 1, "gpus": [0, 1, 2, 3, 4, 5, 6, 7]}], "gpus": 16, "ports": {"dist_init": "P+16", "bootstrap": 30001, "system": "P+31", "rpc": "P+32", "http": "P+33", "nccl": "P+34"}, "argv": ["python3", "-m", "dynamo.sglang", "--model-path", "/model", "--served-model-name", "deepseek-ai/DeepSeek-R1", "--dist-init-addr", "<node0>:P+16", "--nnodes", "2", "--node-rank", "0", "--host", "<node0>", "--port", "P+33", "--nccl-port", "P+34", "--disaggregation-mode", "prefill", "--disaggregation-bootstrap-port", "30001", "--tp-size", "16", "--dp-size", "16", "--enable-dp-attention", "--moe-a2a-backend", "deepep", "--deepep-mode", "normal", "--skip-tokenizer-init", "--disaggregation-transfer-backend", "nixl", "--decode-log-interval", "1", "--page-size", "1", "--trust-remote-code", "--moe-dense-tp-size", "1", "--enable-dp-lm-head", "--disable-radix-cache", "--watchdog-timeout", "1000000", "--enable-two-batch-overlap", "--mem-fraction-static", "0.85", "--chunked-prefill-size", "524288", "--ep-num-redundant-experts", "32", "--ep-dispatch-algorithm", "dynamic", "--eplb-algorithm", "deepseek"], "env": {"MC_TE_METRIC": "true", "SGLANG_TBO_DEBUG": "1", "NATS_SERVER": "nats://<node6>:P+0", "ETCD_ENDPOINTS": "https://<node6>:P+1", "DYN_TCP_RPC_HOST": "<node0>", "DYN_EVENT_PLANE": "nats", "DYN_TCP_RPC_PORT": "P+32", "DYN_SYSTEM_HOST": "<node0>", "DYN_SYSTEM_PORT": "P+31", "SGLANG_HOST_IP": "<node0>", "HOST_IP": "<node0>"}},
  {"name": "decode-0", "role": "decode", "index": 0, "nodes": [2, 3, 4, 5], "ranks": [{"rank": 0, "node": 2, "gpus": [0, 1, 2, 3, 4, 5, 6, 7]}, {"rank": 1, "node": 3, "gpus": [0, 1, 2, 3, 4, 5, 6, 7]}, {"rank": 2, "node": 4, "gpus": [0, 1, 2, 3, 4, 5, 6, 7]}, {"rank": 3, "node": 5, "gpus": [0, 1, 2, 3, 4, 5, 6, 7]}], "gpus": 32, "ports": {"dist_init": "P+16", "system": "P+31", "rpc": "P+32", "http": "P+33", "nccl": "P+34"}, "argv": ["python3", "-m", "dynamo.sglang", "--model-path", "/model", "--served-model-name", "deepseek-ai/DeepSeek-R1", "--dist-init-addr", "<node2>:P+16", "--nnodes", "4", "--node-rank", "0", "--host", "<node2>", "--port", "P+33", "--nccl-port", "P+34", "--disaggregation-mode", "decode", "--tp-size", "32", "--dp-size", "32", "--enable-dp-attention", "--moe-a2a-backend", "deepep", "--deepep-mode", "low_latency", "--skip-tokenizer-init", "--disaggregation-transfer-backend", "nixl", "--decode-log-interval", "1", "--page-size", "1", "--trust-remote-code", "--moe-dense-tp-size", "1", "--enable-dp-lm-head", "--disable-radix-cache", "--watchdog-timeout", "1000000", "--enable-two-batch-overlap", "--mem-fraction-static", "0.835", "--ep-num-redundant-experts", "32", "--cuda-graph-bs-decode", "256"], "env": {"MC_TE_METRIC": "true", "SGLANG_TBO_DEBUG": "1", "NATS_SERVER": "nats://<node6>:P+0", "ETCD_ENDPOINTS": "https://<node6>:P+1", "DYN_TCP_RPC_HOST": "<node2>", "DYN_EVENT_PLANE": "nats", "DYN_TCP_RPC_PORT": "P+32", "DYN_SYSTEM_HOST": "<node2>", "DYN_SYSTEM_PORT": "P+31", "SGLANG_HOST_IP": "<node2>", "HOST_IP": "<node2>"}}
 ],
 "services": {"nats": {"node": 6, "port": "P+0", "argv": ["nats-server", "--addr", "<node6>", "--port", "P+0", "--jetstream", "--store_dir", "${SCRATCH}/nats", "--config", "${RUN}/secrets/nats.conf"], "env": {}}, "etcd": {"node": 6, "port": "P+1", "argv": ["etcd", "--name", "sgl-launch", "--data-dir", "${SCRATCH}/etcd", "--listen-client-urls", "https://<node6>:P+1", "--advertise-client-urls", "https://<node6>:P+1", "--listen-peer-urls", "https://127.0.0.1:P+2", "--initial-advertise-peer-urls", "https://127.0.0.1:P+2", "--initial-cluster", "sgl-launch=https://127.0.0.1:P+2", "--log-level", "warn", "--cert-file", "${RUN}/secrets/server.pem", "--key-file", "${RUN}/secrets/server.key", "--trusted-ca-file", "${RUN}/secrets/ca.pem", "--client-cert-auth", "--peer-cert-file", "${RUN}/secrets/server.pem", "--peer-key-file", "${RUN}/secrets/server.key", "--peer-trusted-ca-file", "${RUN}/secrets/ca.pem", "--peer-client-cert-auth"], "env": {}}},
 "frontend": {"node": 0, "port": 8000, "balanced": true, "replicas": [{"name": "frontend-0", "node": 0, "port": "P+3"}, {"name": "frontend-1", "node": 1, "port": "P+3"}, {"name": "frontend-2", "node": 2, "port": "P+3"}], "argv": ["python3", "-m", "dynamo.frontend", "--http-port", "P+3", "--migration-limit", "3", "--router-mode", "kv", "--router-replica-sync"], "env": {"MC_TE_METRIC": "true", "SGLANG_TBO_DEBUG": "1", "NATS_SERVER": "nats://<node6>:P+0", "ETCD_ENDPOINTS": "https://<node6>:P+1", "DYN_TCP_RPC_HOST": "<node0>", "DYN_EVENT_PLANE": "nats", "DYN_HTTP_GRACEFUL_SHUTDOWN_TIMEOUT_SECS": "60"}},
 "health": null,
 "config": {"name": "frontends", "engine": "dynamo", "model": {"path": "/model", "served_name": "deepseek-ai/DeepSeek-R1"}, "sglang_version": "0.5.16", "container": {"runtime": "pyxis", "image": "/images/sglang-dynamo-deepep.sqsh", "mounts": ["/models/DeepSeek-R1:/model"], "options": []}, "slurm": {"gpus_per_node": 8, "gpu_request": "gpus-per-node", "partition": "h100", "time": "04:00:00", "exclusive": true, "mem": 0}, "network": {}, "ports": {"base": "auto", "bootstrap": 30001}, "prefill": {"workers": 1, "args": {"tp-size": 16, "dp-size": 16, "enable-dp-attention": true, "moe-a2a-backend": "deepep", "deepep-mode": "normal", "skip-tokenizer-init": true, "disaggregation-transfer-backend": "nixl", "decode-log-interval": 1, "page-size": 1, "trust-remote-code": true, "moe-dense-tp-size": 1, "enable-dp-lm-head": true, "disable-radix-cache": true, "watchdog-timeout": 1000000, "enable-two-batch-overlap": true, "mem-fraction-static": 0.85, "chunked-prefill-size": 524288, "ep-num-redundant-experts": 32, "ep-dispatch-algorithm": "dynamic", "eplb-algorithm": "deepseek"}, "env": {}}, "decode": {"workers": 1, "args": {"tp-size": 32, "dp-size": 32, "enable-dp-attention": true, "moe-a2a-backend": "deepep", "deepep-mode": "low_latency", "skip-tokenizer-init": true, "disaggregation-transfer-backend": "nixl", "decode-log-interval": 1, "page-size": 1, "trust-remote-code": true, "moe-dense-tp-size": 1, "enable-dp-lm-head": true, "disable-radix-cache": true, "watchdog-timeout": 1000000, "enable-two-batch-overlap": true, "mem-fraction-static": 0.835, "ep-num-redundant-experts": 32, "cuda-graph-bs-decode": 256}, "env": {}}, "mocker": {}, "env": {"MC_TE_METRIC": "true", "SGLANG_TBO_DEBUG": "1"}, "env_from": {}, "frontend": {"port": 8000, "router_mode": "kv", "replicas": 3, "one_address": true, "args": {}, "env": {}}, "services": {"where": "own"}, "security": {"services": "secured", "nats_tls": false, "request_plane": "open"}, "on_failure": {"workers": "restart", "services": "stop", "max_restarts": 3, "max_requeues": 2}, "spare_nodes": 0, "timeouts": {"services": 60.0, "ready": 3600.0, "stop": 8.0, "drain": 60.0}, "preflight": false, "warmup": {"kernels": {"local_dir": "/tmp/sgl-launch-kernels", "fast": false, "required": false}, "requests": {"enabled": true, "timeout": 1800.0, "required": false}}, "runs": "runs"}
}
END_OF_PLAN
say "frontends, job $JOB_ID, run folder $RUN"

# Python of sgl-launch, and the programs that were installed with it (nats-server, etcd) after the
# site's own.
SGL_LAUNCH=${SGL_LAUNCH:-sgl-launch}
LAUNCH_PYTHON=$("$SGL_LAUNCH" job python) ||
  fail "sgl-launch does not run on $(hostname): put it on PATH, or its full path in SGL_LAUNCH"
# Where services keep their data on a node; another job can have this job's number.
SCRATCH_NAME=sgl-launch-$UID-$JOB_ID-$$
export RUN LAUNCH_PYTHON SCRATCH_NAME SGL_SCRIPT_PID=$$ PATH=$PATH:${LAUNCH_PYTHON%/*}

# --- Who: each node's host name, address and interface, and its ports in use, in one step -----------
# node_facts INDEX HOST [INTERFACE]: prints "INDEX HOST ADDRESS INTERFACE PORT,PORT,..."
# The interface is the one asked for, else the one of the default route, else the first with a
# global address. The ports are those that something listens on.
node_facts() {
  local index=$1 host=$2 interface=${3:-} address scope=(scope global) ports='' line hex
  [ "$interface" != lo ] || scope=()
  [ -n "$interface" ] || interface=$(ip -o -4 route show default | awk '{for (i = 1; i < NF; i++) if ($i == "dev") {print $(i + 1); exit}}')
  [ -n "$interface" ] || interface=$(ip -o -4 addr show scope global | awk '{print $2; exit}')
  address=$(ip -o -4 addr show dev "$interface" "${scope[@]}" | awk '{split($4, a, "/"); print a[1]; exit}')
  if [ -z "$address" ]; then
    echo "$host: interface '$interface' has no IPv4 address; set network.interface to one of: $(ip -o -4 addr show | awk '{printf "%s ", $2}')" >&2
    return 1
  fi
  # /proc/net/tcp: column 2 is ADDRESS:PORT in hex, column 4 is 0A for a listening socket
  while read -r hex; do
    line=$((16#$hex))
    ports+=${ports:+,}$line
  done < <(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$4 == "0A" {n = split($2, a, ":"); print a[n]}' | sort -u)
  echo "$index $host $address $interface ${ports:-none}"
}

# read_nodes COUNT: fills HOST, ADDR and LISTENING by node index from $RUN/who.
HOST=() ADDR=() LISTENING=()
read_nodes() {
  local index host address ports
  while read -r index host address _ ports; do
    HOST[index]=$host ADDR[index]=$address LISTENING[index]=,$ports,
  done <"$RUN/who"
  [ "${#HOST[@]}" -ge "$1" ] || fail "${#HOST[@]} of $1 nodes named their address"
  # index host address interface, a line a node: the ranks find themselves here
  SGL_NODES=$(sort -n "$RUN/who" | cut -d' ' -f1-4)
  export SGL_NODES
  printf '%s\n' "$SGL_NODES" >"$RUN/hosts"
}

find_nodes() {
  timeout --kill-after=3 60 srun --job-name=who --overlap --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" \
    --ntasks-per-node=1 --mem=0 --cpu-bind=none \
    bash -c "$(declare -f node_facts); node_facts \"\$SLURM_NODEID\" \"\$SLURMD_NODENAME\" \"\$1\"" \
    who '' >"$RUN/who" 2>"$RUN/logs/who.srun" ||
    fail "a node could not name its address within 60 s: $(tail -n 3 "$RUN/logs/who.srun")"
}

# --- Ports: a block of 256 that is free on every node; other jobs may share them -----------------
in_use() { # in_use FIRST COUNT: is a port in this range listened on, or one of the config's fixed ones?
  local node port
  for node in "${!HOST[@]}"; do
    for port in ${LISTENING[node]//,/ } 8000 30001; do
      [ "$port" = none ] || [ "$port" -lt "$1" ] || [ "$port" -ge $(($1 + $2)) ] || return 0
    done
  done
  return 1
}

choose_ports() {
  local first=20000 blocks number=${JOB_ID//[!0-9]/} try
  PORT_BASE=0
  if [ "$PORT_BASE" = 0 ]; then
    # Start from the job's number, so that jobs which start together look at different blocks.
    blocks=$(((32768 - first) / 256))
    for ((try = 0; try < blocks; try++)); do
      PORT_BASE=$((first + (10#$number + try) % blocks * 256))
      in_use "$PORT_BASE" 256 || break
    done
  fi
  ! in_use "$PORT_BASE" 256 ||
    fail "no free block of 256 ports on these nodes (ports.base)"
  case ${LISTENING[0]} in *,8000,*)
    fail "port 8000 (frontend.port) is taken on ${HOST[0]}; choose another one or auto" ;;
  esac
  case ${LISTENING[0]} in *,30001,*)
    fail "port 30001 (ports.bootstrap) is taken on ${HOST[0]}; choose another one or auto" ;;
  esac
  NATS_PORT=$((PORT_BASE + 0))
  ETCD_PORT=$((PORT_BASE + 1))
  ETCD_PEER_PORT=$((PORT_BASE + 2))
  FRONTEND_PORT=8000
  SERVICES_ADDR=${ADDR[6]} FRONTEND_ADDR=${ADDR[0]}
  export PORT_BASE SERVICES_ADDR FRONTEND_ADDR NATS_PORT ETCD_PORT ETCD_PEER_PORT FRONTEND_PORT 
  # where the job is, for status, wait and warmup
  printf '{"job_id": "%s", "port_base": %s, "endpoint": "http://%s:%s"}\n' \
    "$JOB_ID" "$PORT_BASE" "$FRONTEND_ADDR" "$FRONTEND_PORT" >"$RUN/placement.json"
}

# --- Inside a step: what each process becomes ---------------------------------------------------------
# enter_rank NAME "NODE NODE ..." GPUS: finds this rank's place in its group and sets RANK, NNODES,
# HEAD_ADDR, NODE_ADDR, the interface for collectives and the GPUs it may use. The rank is this
# host's place in the list, unless RANK is set already (on one machine).
enter_rank() {
  local name=$1 gpus=$3 place=${RANK:-} i index host address interface members=() all=()
  read -ra members <<<"$2"
  local -A host_of=() address_of=() interface_of=()
  while read -r index host address interface; do
    host_of[$index]=$host address_of[$index]=$address interface_of[$index]=$interface
  done <<<"$SGL_NODES"
  for i in "${!members[@]}"; do
    [ -n "$place" ] || [ "${host_of[${members[i]}]}" != "${SLURMD_NODENAME:-}" ] || place=$i
  done
  if [ -z "$place" ]; then
    echo "$name: this host (${SLURMD_NODENAME:-$(hostname)}) is none of the group's nodes" >&2
    return 1
  fi
  GROUP=$name RANK=$place NNODES=${#members[@]} HEAD_ADDR=${address_of[${members[0]}]}
  NODE_ADDR=${address_of[${members[place]}]} IFNAME=${interface_of[${members[place]}]}
  # the step's number, by which it can be asked to end
  [ "$RANK" != 0 ] || [ -z "${SLURM_STEP_ID:-}" ] || echo "$SLURM_STEP_ID" >"$RUN/steps/$name" || true
  # Gloo and NCCL must take the interface that owns the address that others know.
  export GLOO_SOCKET_IFNAME=$IFNAME NCCL_SOCKET_IFNAME=$IFNAME GROUP RANK NNODES HEAD_ADDR NODE_ADDR
  if [ -n "$gpus" ]; then
    # GPUS are positions in what the job was given here; without a list they are the GPUs themselves.
    IFS=, read -ra all <<<"${CUDA_VISIBLE_DEVICES:-}"
    CUDA_VISIBLE_DEVICES=
    for index in ${gpus//,/ }; do
      index=$((index + ${GPU_OFFSET:-0}))
      [ "${#all[@]}" = 0 ] || index=${all[index]:?this job has too few GPUs on this node}
      CUDA_VISIBLE_DEVICES+=${CUDA_VISIBLE_DEVICES:+,}$index
    done
    export CUDA_VISIBLE_DEVICES
  fi
}

# make_scratch: SCRATCH is a folder on this node; it goes when the process that `keep` runs has ended,
# or when the job does.
make_scratch() {
  SCRATCH=${TMPDIR:-/tmp}/$SCRATCH_NAME-$GROUP
  rm -rf "$SCRATCH"
  mkdir -m 700 "$SCRATCH"
  trap 'rm -rf "$SCRATCH"' EXIT
}
# keep RESTARTS COMMAND...: runs it, and again when it ends unasked, at most that many times.
keep() {
  local child code left=$1
  trap 'left=0; kill -TERM "$child" 2>/dev/null || true' TERM INT
  while :; do
    "${@:2}" &
    child=$! code=0
    wait "$child" || code=$?
    while kill -0 "$child" 2>/dev/null; do code=0 && wait "$child" || code=$?; done
    [ "$left" -gt 0 ] || exit "$code"
    left=$((left - 1))
    event "$GROUP" restarting "exit status $code, in its place"
  done
}

run_nats() {
  make_scratch
  # etcd would take variables named ETCD_... for settings, and log those that it does not know
  export -n "${!ETCD_@}" "${!NATS_@}"
  keep 0 nats-server \
    --addr "${NODE_ADDR}" \
    --port "${NATS_PORT}" \
    --jetstream \
    --store_dir "${SCRATCH}/nats" \
    --config "${RUN}/secrets/nats.conf"
}

run_etcd() {
  make_scratch
  # etcd would take variables named ETCD_... for settings, and log those that it does not know
  export -n "${!ETCD_@}" "${!NATS_@}"
  keep 0 etcd \
    --name sgl-launch \
    --data-dir "${SCRATCH}/etcd" \
    --listen-client-urls "https://${NODE_ADDR}:${ETCD_PORT}" \
    --advertise-client-urls "https://${NODE_ADDR}:${ETCD_PORT}" \
    --listen-peer-urls "https://127.0.0.1:${ETCD_PEER_PORT}" \
    --initial-advertise-peer-urls "https://127.0.0.1:${ETCD_PEER_PORT}" \
    --initial-cluster "sgl-launch=https://127.0.0.1:${ETCD_PEER_PORT}" \
    --log-level warn \
    --cert-file "${RUN}/secrets/server.pem" \
    --key-file "${RUN}/secrets/server.key" \
    --trusted-ca-file "${RUN}/secrets/ca.pem" \
    --client-cert-auth \
    --peer-cert-file "${RUN}/secrets/server.pem" \
    --peer-key-file "${RUN}/secrets/server.key" \
    --peer-trusted-ca-file "${RUN}/secrets/ca.pem" \
    --peer-client-cert-auth
}

run_prefill() {
  export MC_TE_METRIC=true
  export SGLANG_TBO_DEBUG=1
  export NATS_SERVER="nats://${SERVICES_ADDR}:${NATS_PORT}"
  export ETCD_ENDPOINTS="https://${SERVICES_ADDR}:${ETCD_PORT}"
  export DYN_TCP_RPC_HOST="${NODE_ADDR}"
  export DYN_EVENT_PLANE=nats
  export DYN_TCP_RPC_PORT="${RPC_PORT}"
  export DYN_SYSTEM_HOST="${NODE_ADDR}"
  export DYN_SYSTEM_PORT="${SYSTEM_PORT}"
  export SGLANG_HOST_IP="${NODE_ADDR}"
  export HOST_IP="${NODE_ADDR}"
  exec python3 -m dynamo.sglang \
    --model-path /model \
    --served-model-name deepseek-ai/DeepSeek-R1 \
    --dist-init-addr "${HEAD_ADDR}:${DIST_INIT_PORT}" \
    --nnodes "${NNODES}" \
    --node-rank "${RANK}" \
    --host "${NODE_ADDR}" \
    --port "${HTTP_PORT}" \
    --nccl-port "${NCCL_PORT}" \
    --disaggregation-mode prefill \
    --disaggregation-bootstrap-port "${BOOTSTRAP_PORT}" \
    --tp-size 16 \
    --dp-size 16 \
    --enable-dp-attention \
    --moe-a2a-backend deepep \
    --deepep-mode normal \
    --skip-tokenizer-init \
    --disaggregation-transfer-backend nixl \
    --decode-log-interval 1 \
    --page-size 1 \
    --trust-remote-code \
    --moe-dense-tp-size 1 \
    --enable-dp-lm-head \
    --disable-radix-cache \
    --watchdog-timeout 1000000 \
    --enable-two-batch-overlap \
    --mem-fraction-static 0.85 \
    --chunked-prefill-size 524288 \
    --ep-num-redundant-experts 32 \
    --ep-dispatch-algorithm dynamic \
    --eplb-algorithm deepseek
}

run_decode() {
  export MC_TE_METRIC=true
  export SGLANG_TBO_DEBUG=1
  export NATS_SERVER="nats://${SERVICES_ADDR}:${NATS_PORT}"
  export ETCD_ENDPOINTS="https://${SERVICES_ADDR}:${ETCD_PORT}"
  export DYN_TCP_RPC_HOST="${NODE_ADDR}"
  export DYN_EVENT_PLANE=nats
  export DYN_TCP_RPC_PORT="${RPC_PORT}"
  export DYN_SYSTEM_HOST="${NODE_ADDR}"
  export DYN_SYSTEM_PORT="${SYSTEM_PORT}"
  export SGLANG_HOST_IP="${NODE_ADDR}"
  export HOST_IP="${NODE_ADDR}"
  exec python3 -m dynamo.sglang \
    --model-path /model \
    --served-model-name deepseek-ai/DeepSeek-R1 \
    --dist-init-addr "${HEAD_ADDR}:${DIST_INIT_PORT}" \
    --nnodes "${NNODES}" \
    --node-rank "${RANK}" \
    --host "${NODE_ADDR}" \
    --port "${HTTP_PORT}" \
    --nccl-port "${NCCL_PORT}" \
    --disaggregation-mode decode \
    --tp-size 32 \
    --dp-size 32 \
    --enable-dp-attention \
    --moe-a2a-backend deepep \
    --deepep-mode low_latency \
    --skip-tokenizer-init \
    --disaggregation-transfer-backend nixl \
    --decode-log-interval 1 \
    --page-size 1 \
    --trust-remote-code \
    --moe-dense-tp-size 1 \
    --enable-dp-lm-head \
    --disable-radix-cache \
    --watchdog-timeout 1000000 \
    --enable-two-batch-overlap \
    --mem-fraction-static 0.835 \
    --ep-num-redundant-experts 32 \
    --cuda-graph-bs-decode 256
}

run_frontend() {
  export MC_TE_METRIC=true
  export SGLANG_TBO_DEBUG=1
  export NATS_SERVER="nats://${SERVICES_ADDR}:${NATS_PORT}"
  export ETCD_ENDPOINTS="https://${SERVICES_ADDR}:${ETCD_PORT}"
  export DYN_TCP_RPC_HOST="${NODE_ADDR}"
  export DYN_EVENT_PLANE=nats
  export DYN_HTTP_GRACEFUL_SHUTDOWN_TIMEOUT_SECS=60
  exec python3 -m dynamo.frontend \
    --http-port "${FRONTEND_PORT}" \
    --migration-limit 3 \
    --router-mode kv \
    --router-replica-sync
}

# Bodies of the steps: which functions and variables a process needs on its node, then its command.
# body ROLE NAME "NODE NODE ..." GPUS PORTS
body() {
  printf '%s\n' "set -euo pipefail" "$(declare -f event enter_rank make_scratch keep "run_$1")" "$5" \
    "enter_rank '$2' '$3' '$4'" "run_$1"
}
start_worker() { start "$1" worker "$3" "$(body "$2" "$1" "$3" "$4" "$5")"; } # NAME ROLE NODES GPUS PORTS
start_service() { start "$1" service "$2" "$(body "$1" "$1" "$2" '' '')"; }   # NAME NODE
start_frontend() { start "$1" frontend "$2" "$(body frontend "$1" "$2" '' "$3")"; } # NAME NODE PORTS

start_balancer() {
  event balancer started "${HOST[0]}"
  (GROUP=balancer keep 0 \
    "$SGL_LAUNCH" job balance "$RUN" "$FRONTEND_PORT") \
    </dev/null >>"$RUN/logs/balancer-0.log" 2>&1 &
  PID[balancer]=$! TIER[balancer]=frontend NODES[balancer]=0 NAMES+=(balancer)
}

# === Stages ==============================================================================================

stage who
find_nodes
read_nodes 7
choose_ports

# --- Keys: this job's own certificates and password, in $RUN/secrets ------------------------------------
stage keys
helper keys "$RUN" || fail "the job's keys could not be made"
KEYS=$RUN/secrets
# Dynamo wants etcd's keys as text and NATS's as paths.
ETCD_AUTH_CA=$(<"$KEYS/ca.pem")
ETCD_AUTH_CLIENT_CERT=$(<"$KEYS/client.pem")
ETCD_AUTH_CLIENT_KEY=$(<"$KEYS/client.key")
NATS_AUTH_USERNAME=sgl-launch
NATS_AUTH_PASSWORD=$(<"$KEYS/nats-password")
export ETCD_AUTH_CA ETCD_AUTH_CLIENT_CERT ETCD_AUTH_CLIENT_KEY NATS_AUTH_USERNAME NATS_AUTH_PASSWORD

# --- Services: NATS and etcd on a node of their own -----------------------------------------------------
stage services
start_service nats 6
start_service etcd 6
helper services "$RUN" || fail "NATS or etcd did not answer; see $RUN/logs"

# --- Workers: a line a worker group: name, role, nodes, GPUs on each, ports -----------------------------
stage workers
start_worker prefill-0 prefill '0 1' 0,1,2,3,4,5,6,7 "export DIST_INIT_PORT=$((PORT_BASE + 16)) BOOTSTRAP_PORT=30001 SYSTEM_PORT=$((PORT_BASE + 31)) RPC_PORT=$((PORT_BASE + 32)) HTTP_PORT=$((PORT_BASE + 33)) NCCL_PORT=$((PORT_BASE + 34))"
start_worker decode-0 decode '2 3 4 5' 0,1,2,3,4,5,6,7 "export DIST_INIT_PORT=$((PORT_BASE + 16)) SYSTEM_PORT=$((PORT_BASE + 31)) RPC_PORT=$((PORT_BASE + 32)) HTTP_PORT=$((PORT_BASE + 33)) NCCL_PORT=$((PORT_BASE + 34))"

# --- Frontend -------------------------------------------------------------------------------------------
stage frontend
start_frontend frontend-0 0 "export FRONTEND_PORT=$((PORT_BASE + 3))"
start_frontend frontend-1 1 "export FRONTEND_PORT=$((PORT_BASE + 3))"
start_frontend frontend-2 2 "export FRONTEND_PORT=$((PORT_BASE + 3))"
# one address for them, on this node
start_balancer

# --- Ready: every worker registered, and a real request answered through each ---------------------------
stage ready
helper ready "$RUN" || fail "not ready: $(cat "$RUN/reason" 2>/dev/null || echo "see $RUN/logs")"

# --- Warm-up: a sweep of requests until the times are steady --------------------------------------------
stage warm
if ! helper warm "$RUN"; then
  say "the warm-up did not end warm (see $RUN/warmup.json); serving all the same"
  event warm "not warm" "see $RUN/warmup.json"
  STAGE='' # this stage is not done
fi


# --- Serve: until the job is ended, or a process ends that should not have ------------------------------
stage serve
say "serving at http://$FRONTEND_ADDR:$FRONTEND_PORT"
again=0 # when the monitor may be started again
while :; do
  watch
  # says which workers have vanished from etcd though their steps live: their nodes are gone
  if clock && ! alive monitor && [ "$NOW" -ge "$again" ]; then
    start_helper monitor "$RUN"
    again=$((NOW + 10))
  fi
  pause
done
