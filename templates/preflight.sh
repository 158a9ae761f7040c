# What `sgl-launch preflight` runs on each node: looks, and changes nothing. A function a check; each
# prints lines "SGL_FACT HOST NAME VALUE". What is good and what is bad is decided afterwards, over
# all nodes. Before these lines stand: MODEL, IMAGE, INTERFACE, RUNS and PROGRAMS, as the config says;
# and FIRST, the index of the component's first node, where the job has several components.

HOST=${SLURMD_NODENAME:-$(hostname)}
fact() { printf 'SGL_FACT %s %s %s\n' "$HOST" "$1" "$2"; }

# Number of GPUs that this job sees, memory in use (MiB, of the fullest), ECC errors, driver.
check_gpus() {
  local visible=${CUDA_VISIBLE_DEVICES:-} list
  if command -v nvidia-smi >/dev/null && list=$(nvidia-smi --query-gpu=memory.used,ecc.errors.uncorrected.volatile.total,driver_version,name --format=csv,noheader,nounits 2>/dev/null); then
    fact gpus "$(printf '%s\n' "$list" | grep -c .)"
    fact gpu_memory_used "$(printf '%s\n' "$list" | cut -d, -f1 | sort -n | tail -n 1 | tr -d ' ')"
    fact gpu_ecc "$(printf '%s\n' "$list" | cut -d, -f2 | awk '{n += $1} END {print n + 0}')"
    fact gpu_driver "$(printf '%s\n' "$list" | cut -d, -f3 | sort -u | tr -d ' ' | paste -sd+)"
    fact gpu_name "$(printf '%s\n' "$list" | cut -d, -f4 | sort -u | sed 's/^ *//' | paste -sd+)"
  elif [ -n "$visible" ]; then
    fact gpus "$(printf '%s\n' "${visible//,/ }" | wc -w)"
  else
    fact gpus 0
  fi
}

# Channels by which the GPUs of a rack reach each other's memory: the IMEX daemon makes them usable.
check_imex() { fact imex "$(compgen -G '/dev/nvidia-caps-imex-channels/channel*' | wc -l)"; }

# The model's folder: number of files, bytes, and a digest of names and sizes.
check_model() {
  [ -n "$MODEL" ] || return 0
  if [ ! -d "$MODEL" ]; then
    fact model missing
    return
  fi
  local files
  files=$(find -L "$MODEL" -type f -printf '%P %s\n' 2>/dev/null | LC_ALL=C sort)
  fact model "$(printf '%s\n' "$files" | grep -c .) $(printf '%s\n' "$files" | awk '{n += $NF} END {printf "%.0f", n}') $(printf '%s\n' "$files" | sha256sum | cut -c1-12)"
}

# The container's image, if it is a file or a folder.
check_image() {
  [ -n "$IMAGE" ] || return 0
  if [ -e "$IMAGE" ]; then fact image "$(stat -Lc %s "$IMAGE")"; else fact image missing; fi
}

check_programs() {
  local program
  for program in $PROGRAMS; do command -v "$program" >/dev/null || fact no_program "$program"; done
}

check_limits() {
  fact memlock "$(ulimit -l)"
  fact nofile "$(ulimit -n)"
}

# Free KiB in /tmp and where the run folders are.
check_disk() {
  local folder=$RUNS
  while [ ! -d "$folder" ] && [ "$folder" != / ]; do folder=$(dirname "$folder"); done
  fact tmp_free "$(df -Pk "${TMPDIR:-/tmp}" | awk 'NR == 2 {print $4}')"
  fact runs_free "$(df -Pk "$folder" | awk 'NR == 2 {print $4}')"
}

check_clock() { fact clock "$(date +%s.%N)"; }

# The interface that the job would take, its address, and active RDMA ports.
check_network() {
  local interface=$INTERFACE active=0 state
  [ -n "$interface" ] || interface=$(ip -o -4 route show default | awk '{for (i = 1; i < NF; i++) if ($i == "dev") {print $(i + 1); exit}}')
  [ -n "$interface" ] || interface=$(ip -o -4 addr show scope global | awk '{print $2; exit}')
  fact interface "${interface:-none} $(ip -o -4 addr show dev "${interface:-none}" 2>/dev/null | awk '{split($4, a, "/"); print a[1]; exit}')"
  for state in /sys/class/infiniband/*/ports/*/state; do
    [ ! -e "$state" ] || ! grep -q ACTIVE "$state" || active=$((active + 1))
  done
  fact rdma "$active"
}

# Ports that something listens on.
check_ports() {
  local hex ports=
  while read -r hex; do ports+=${ports:+,}$((16#$hex)); done < <(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$4 == "0A" {n = split($2, a, ":"); print a[n]}' | sort -u)
  fact listening "${ports:-none}"
}

fact index "$((${SLURM_NODEID:-0} + ${FIRST:-0}))"
check_clock
check_gpus
check_imex
check_model
check_image
check_programs
check_limits
check_disk
check_network
check_ports
