#!/bin/bash
# What a job learns about a node, and does there beside its processes. `sgl-launch job run` starts it once on every
# node (as one step, or here), reads its lines, which begin with MARK, and gives it orders on its standard input:
#
#     stop GROUP, kill GROUP    TERM or KILL to every process of a worker group (or service) on this node
#     ping                      answer
#     claim BASE ...            lock these blocks of ports for the job's life, in place of those before: "claimed" or "taken"
#     alive                     go on
#     end                       remove the job's scratch folder and containers, and exit
#
# At the end of input, or without an order for 20 s (3 s once Slurm ends the job), it ends the job's processes here first.
#
#     bash -c "$(cat node.sh)" node MARK RUN_FOLDER SCRATCH_NAME ENGINE_PROCESSES SWEEP
# shellcheck disable=SC2013 # paths have no spaces
set -uo pipefail
last='' silent=0 limit=20 # seconds without an order, as far as this process ran in them; how many are too many
trap limit=3 TERM # the job ends: this tidies up after its processes have ended
trap '' INT HUP
mark=$1 run=$2 scratch=$3 engine=$4 sweep=$5
host=${SLURMD_NODENAME:-$(uname -n)}

say() { printf '%s %s\n' "$mark" "$*"; }

# --- Locks -----------------------------------------------------------------------------------------------------------
# hold FILE: make it if it is not there, and lock it as long as this process lives or until `let_go`. Another process does
# that: what lies at a name in a folder that is everyone's may be anything, and opening it hang.
declare -A told_by=() # by file, where its holder is told
# shellcheck disable=SC2016 # its own $1
holder='trap "" TERM INT HUP; set -C; umask 022
  [ -e "$1" ] || [ -L "$1" ] || : >"$1"
  [ -f "$1" ] && [ ! -L "$1" ] && exec 9<"$1" && flock -xn 9 && echo held || echo no
  read -r _' # it must not end by itself: bash would forget its descriptors while they are copied
hold() {
  local answer='' said tell pid
  { coproc HOLDER { BASH_ENV='' exec bash -c "$holder" hold "$1"; }; } 2>/dev/null # what a site's file says is no answer
  pid=$HOLDER_PID
  { exec {said}<&"${HOLDER[0]}" {tell}>&"${HOLDER[1]}"; } 2>/dev/null || return 1
  read -r -t 10 -u "$said" answer
  exec {said}<&-
  [ "$answer" != held ] || { told_by[$1]=$tell; return; }
  exec {tell}>&-
  [ "$answer" = no ] || kill -KILL "$pid" 2>/dev/null # it hangs
  return 1
}
let_go() { # of a file
  local tell=${told_by[$1]}
  echo >&"$tell"
  exec {tell}>&-
  unset "told_by[$1]"
}

# Blocks of ports are locked by files in a folder that all jobs of this node see and where nobody can take away what is
# another's. Some sites give each job a /tmp of its own.
claim() {
  local folder base file claimed=()
  for folder in /run/lock /var/tmp /tmp; do [ -k "$folder" ] && [ -w "$folder" ] && break; done
  for base in "${!told_by[@]}"; do case $base in */.sgl-launch-ports-*) let_go "$base" ;; esac; done
  for base in $1; do
    case $base in *[!0-9]*) return ;; esac
    file=$folder/.sgl-launch-ports-$host-$base
    hold "$file" || { for file in "${claimed[@]}"; do let_go "$file"; done; say taken "$host" "$1"; return; }
    claimed+=("$file")
  done
  say claimed "$host" "$1"
}

# --- The job's folder on this node ------------------------------------------------------------------------------------
# Made here, locked as long as this lives. Those whose lock nobody holds are of jobs that were ended by force: they go.
[ -w "${TMPDIR:-}" ] || TMPDIR=/tmp
own=${TMPDIR:?}/${scratch:?}
make_scratch() {
  local folder
  mkdir -m 700 "$own" && hold "$own/.new" && mv "$own/.new" "$own/.held"
  for folder in "$TMPDIR"/sgl-launch-*; do
    if [ -O "$folder" ] && [ ! -L "$folder" ] && [ -e "$folder/.held" ] && hold "$folder/.held"; then
      rm -rf "$folder"
      let_go "$folder/.held"
    fi
  done
}

# --- Facts: addresses, listening ports, GPUs, and whether the run folder is seen here ------------------------------
# One program is started for it, `ip`: on many nodes at once each further one would show.
facts() {
  local found name address rest state interface destination lines ports='' only6=1
  [ -r "$run/job.sh" ] || { say fault "$host" "the run folder $run is not seen here: runs must be a folder that all nodes share"; return; }
  found=$(ip -o -4 addr show up) || { say fault "$host" "the program ip (iproute2) is missing or fails"; return; }
  while read -r _ name _ address rest; do
    case $rest in *"scope global"*) state=global ;; *) state=other ;; esac
    [ "$state" = other ] || [ "$name" = lo ] || only6=
    # a link without a carrier comes after the others
    { read -r rest <"/sys/class/net/$name/operstate"; } 2>/dev/null && [[ $rest = *down ]] && state=other
    say address "$host" "$name" "${address%%/*}" "$state"
  done <<<"$found"
  [ -z "$only6" ] || while read -r _ name _ address _; do
    [ -z "$name" ] || say address6 "$host" "$name" "${address%%/*}"
  done <<<"$(ip -o -6 addr show up scope global)"
  [ ! -r /proc/net/if_inet6 ] || while read -r _ _ _ _ _ name; do say has6 "$host" "$name"; done </proc/net/if_inet6
  while read -r interface destination _; do
    [ "$destination" != 00000000 ] || say route "$host" "$interface"
  done </proc/net/route
  # Column 2 is ADDRESS:PORT in hex, column 4 is 0A for a listening socket. Read at once: line by line, the kernel would
  # begin anew for each (8,000 connections: minutes).
  for found in /proc/net/tcp /proc/net/tcp6; do
    lines=()
    [ ! -r "$found" ] || mapfile -t lines <"$found"
    for rest in "${lines[@]}"; do
      # shellcheck disable=SC2086 # its words
      set -- $rest
      [ "${4:-}" != 0A ] || ports+=,${2##*:}
    done
  done
  say ports "$host" "$ports"
  say facts "$host" "${CUDA_VISIBLE_DEVICES:-all}"
}

# --- The engine's own processes, each of the nearest process above it of this job: "engine HOST GROUP/RANK:PID ..." on change
declare -A rank_of=() foreign=() compiled=() stopped=() # stopped: pid -> since when (not traced): as bad as gone
watch_engine() {
  local file pid at name stat found=
  for file in $(grep -lsE "$engine" /proc/[0-9]*/cmdline); do
    pid=${file//[!0-9]/} at=${file//[!0-9]/}
    { read -ra stat <"/proc/$pid/stat" && [ "${foreign[$pid]:-}" != "${stat[21]}" ]; } 2>/dev/null || continue # another job's
    while [ -z "${rank_of[$pid]:-}" ] && [ "${at:-0}" -gt 1 ]; do
      name=$(grep -aoszm1 "^LAUNCH_RANK=$scratch/.*" "/proc/$at/environ" | tr -d '\0')
      [ -z "$name" ] || rank_of[$pid]=${name#*/}
      at=$(awk '$1 == "PPid:" {print $2}' "/proc/$at/status" 2>/dev/null)
    done
    [ -n "${rank_of[$pid]:-}" ] || { foreign[$pid]=${stat[21]}; continue; }
    if grep -qs '^State:.T' "/proc/$pid/status"; then : "${stopped[$pid]:=$SECONDS}"; else unset "stopped[$pid]"; fi
    [ $((SECONDS - ${stopped[$pid]:-$SECONDS})) -ge 2 ] || found+=" ${rank_of[$pid]}:$pid"
  done
  [ "$found" = "$last" ] || say engine "$host$found"
  last=$found
}

# --- Compilers of the workers: a line "compilers HOST GROUP/RANK:NAME ..." whenever new ones are seen ---------------------
watch_compilers() {
  local file rank found=
  for file in $(grep -lsxE 'nvcc|cicc|ptxas.*|nvlink|ninja|cc1(plus)?' /proc/[0-9]*/comm); do
    [ -z "${compiled[$file]:-}" ] || continue
    rank=$(grep -aoszm1 "^LAUNCH_RANK=$scratch/.*" "${file%comm}environ" | tr -d '\0') compiled[$file]=1
    case $rank in '' | */kernels-*) ;; *) found+=" ${rank#*/}:$(<"$file")" ;; esac
  done 2>/dev/null
  [ -z "$found" ] || say compilers "$host$found"
}

# --- Orders ------------------------------------------------------------------------------------------------------------
# signal_all NAME [GROUP]: to all processes of the group here, or of the job
signal_all() {
  local file part
  for file in $(grep -lsz "^LAUNCH_RANK=$scratch/${2:+$2/}" /proc/[0-9]*/environ); do
    kill "-$1" "${file//[!0-9]/}" 2>/dev/null
  done
  for part in $last; do # those that have written over their environment with a title
    case $part in "${2:-${part%%/*}}"/*) kill "-$1" "${part##*:}" 2>/dev/null ;; esac
  done
}

# --- GPUs: "gpu HOST INDEX UUID USE% USED_MiB TOTAL_MiB WATTS CELSIUS" each every 5 s, where there is NVIDIA's program -----
query=index,uuid,utilization.gpu,memory.used,memory.total,power.draw,temperature.gpu
exec 8< <(exec nvidia-smi --query-gpu=$query --format=csv,noheader,nounits -l 5 2>/dev/null); gpus=$!
facts
make_scratch 2>/dev/null
while :; do
  while read -r -t 0 -u 8 && read -r -t 1 -u 8 line; do say gpu "$host ${line//,/}"; done # -t 0: is there anything?
  if read -r -t 1 order group; then
    silent=0
    case $order in
      stop) signal_all TERM "$group" ;;
      kill) signal_all KILL "$group" ;;
      ping) say pong "$host" ;;
      claim) claim "$group" ;;
      end) break ;;
    esac
  elif [ $? -le 128 ] || [ $((silent += 1)) -ge "$limit" ]; then # at most 128: not the second's end, but that of the input
    [ -z "$engine" ] || watch_engine
    signal_all TERM
    sleep 1
    signal_all KILL
    break
  fi
  [ -z "$engine" ] || { watch_engine && watch_compilers; }
done
kill "$gpus" 2>/dev/null
[ -z "$sweep" ] || bash -c "$sweep" >/dev/null 2>&1
rm -rf "$own"
