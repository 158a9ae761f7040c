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
# End of input, or 20 s without an order (3 s once Slurm ends the job), means that the supervisor is gone or cannot be reached: then all of the
# job's processes here are ended first.
#
#     bash -c "$(cat node.sh)" node MARK JOB_ID RUN_FOLDER SCRATCH_NAME ENGINE_PROCESSES SWEEP
set -uo pipefail
silent=0 limit=20 # seconds without an order, as far as this process ran in them; how many are too many
trap limit=3 TERM # the job ends: this tidies up after its processes have ended
trap '' INT HUP
mark=$1 job=$2 run=$3 scratch=$4 engine=$5 sweep=$6
host=${SLURMD_NODENAME:-$(uname -n)}

say() { printf '%s %s\n' "$mark" "$*"; }

# --- Facts: addresses, listening ports, GPUs, and whether the run folder is seen here ------------------------------
# One program is started for it, `ip`: on many nodes at once each further one would show.
facts() {
  local found name address rest state interface destination ports=
  [ -r "$run/job.sh" ] || { say fault "$host" "the run folder $run is not seen here: runs must be a folder that all nodes share"; return; }
  found=$(ip -o -4 addr show up) || { say fault "$host" "the program ip (iproute2) is missing or fails"; return; }
  while read -r _ name _ address rest; do
    case $rest in *"scope global"*) state=global ;; *) state=other ;; esac
    say address "$host" "$name" "${address%%/*}" "$state"
  done <<<"$found"
  while read -r interface destination _; do
    [ "$destination" != 00000000 ] || say route "$host" "$interface"
  done </proc/net/route
  # column 2 is ADDRESS:PORT in hex, column 4 is 0A for a listening socket
  for found in /proc/net/tcp /proc/net/tcp6; do
    [ ! -r "$found" ] || while read -r _ address _ state _; do
      [ "$state" != 0A ] || ports+=,${address##*:}
    done <"$found"
  done
  say ports "$host" "$ports"
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
while :; do
  if read -r -t 1 order group; then
    silent=0
    case $order in
      stop) signal_all TERM "$group" ;;
      kill) signal_all KILL "$group" ;;
      ping) say pong "$host" ;;
      end) break ;;
    esac
  elif [ $? -le 128 ] || [ $((silent += 1)) -ge "$limit" ]; then # at most 128: not the second's end, but that of the input
    [ -z "$engine" ] || watch_engine
    signal_all TERM
    sleep 1
    signal_all KILL
    break
  fi
  [ -z "$engine" ] || watch_engine
done
[ -z "$sweep" ] || bash -c "$sweep" >/dev/null 2>&1
[ -w "${TMPDIR:-}" ] || TMPDIR=/tmp
rm -rf "${TMPDIR:?}/${scratch:?}"
