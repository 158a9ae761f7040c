#!/bin/bash
# What a job learns about a node, and does there beside its processes. `sgl-launch job run` starts it once on
# every node (as one step, or here), reads its lines, which begin with MARK, and tells it what to do on its
# standard input:
#
#     stop GROUP, kill GROUP    TERM or KILL to every process of a worker group (or service) on this node
#     ping                      answer
#     alive                     go on
#     end                       remove the job's scratch folder and containers, and exit
#
# End of input, or 20 s without an order, means that the supervisor is gone or cannot be reached: then all of the
# job's processes here are ended first.
#
#     bash -c "$(cat node.sh)" node MARK JOB_ID RUN_FOLDER SCRATCH_NAME ENGINE_PROCESSES SWEEP
set -uo pipefail
trap '' TERM INT HUP # it tidies up after the job's processes have ended
mark=$1 job=$2 run=$3 scratch=$4 engine=$5 sweep=$6
host=${SLURMD_NODENAME:-$(uname -n)}

say() { printf '%s %s\n' "$mark" "$*"; }

# --- Facts: addresses, listening ports, GPUs, and whether the run folder is seen here ------------------------------
facts() {
  local program
  for program in ip awk grep; do
    command -v "$program" >/dev/null || { say fault "$host" "the program $program is missing"; return; }
  done
  [ -r "$run/job.sh" ] || { say fault "$host" "the run folder $run is not seen here: runs must be a folder that all nodes share"; return; }
  ip -o -4 addr show | awk -v say="$mark address $host" '{split($4, a, "/"); print say, $2, a[1], ($0 ~ / scope global/) ? "global" : "other"}'
  ip -o link show up | awk -v say="$mark link $host" '{sub(/[:@].*/, "", $2); print say, $2}'
  ip -o -4 route show default | awk -v say="$mark route $host" '{for (i = 1; i < NF; i++) if ($i == "dev") print say, $(i + 1)}'
  # column 2 is ADDRESS:PORT in hex, column 4 is 0A for a listening socket
  say ports "$host" "$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$4 == "0A" {n = split($2, a, ":"); print a[n]}' | sort -u | paste -sd,)"
  say facts "$host" "${CUDA_VISIBLE_DEVICES:-all}"
}

# --- The engine's own processes: a line "engine HOST GROUP/RANK:PID ..." whenever they have changed -----------------------
declare -A rank_of=()
last=
watch_engine() {
  local file pid at name found=
  # shellcheck disable=SC2013 # paths without spaces
  for file in $(grep -lsE "$engine" /proc/[0-9]*/cmdline); do
    pid=${file//[!0-9]/} at=${file//[!0-9]/}
    # whose it is: that of the nearest process above it that was started for this job
    while [ -z "${rank_of[$pid]:-}" ] && [ "${at:-0}" -gt 1 ]; do
      name=$(grep -aoszm1 "^LAUNCH_RANK=$job/.*" "/proc/$at/environ" | tr -d '\0')
      [ -z "$name" ] || rank_of[$pid]=${name#*/}
      at=$(awk '$1 == "PPid:" {print $2}' "/proc/$at/status" 2>/dev/null)
    done
    [ -z "${rank_of[$pid]:-}" ] || found+=" ${rank_of[$pid]}:$pid"
  done
  [ "$found" = "$last" ] || say engine "$host$found"
  last=$found
}

# --- Orders ------------------------------------------------------------------------------------------------------------
# signal_all NAME [GROUP]: to all processes of the group here, or of the job
signal_all() {
  local file part
  # shellcheck disable=SC2013
  for file in $(grep -lsz "^LAUNCH_RANK=$job/${2:+$2/}" /proc/[0-9]*/environ); do
    kill "-$1" "${file//[!0-9]/}" 2>/dev/null
  done
  for part in $last; do # those that have written over their environment with a title
    case $part in "${2:-${part%%/*}}"/*) kill "-$1" "${part##*:}" 2>/dev/null ;; esac
  done
}

facts
silent=0 # seconds without an order, as far as this process ran in them
while :; do
  if read -r -t 1 order group; then
    silent=0
    case $order in
      stop) signal_all TERM "$group" ;;
      kill) signal_all KILL "$group" ;;
      ping) say pong "$host" ;;
      end) break ;;
    esac
  elif [ $? -le 128 ] || [ $((silent += 1)) -ge 20 ]; then # at most 128: not the second's end, but that of the input
    [ -z "$engine" ] || watch_engine
    signal_all TERM
    sleep 2
    signal_all KILL
    break
  fi
  [ -z "$engine" ] || watch_engine
done
[ -z "$sweep" ] || bash -c "$sweep" >/dev/null 2>&1
[ -w "${TMPDIR:-}" ] || TMPDIR=/tmp
rm -rf "${TMPDIR:?}/${scratch:?}"
