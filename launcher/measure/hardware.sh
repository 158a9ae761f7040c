# What this node's hardware says of itself, a line "hw HOST PART COUNTER VALUE" each. A counter that cannot be read here is not said.
host=${SLURMD_NODENAME:-$(uname -n)}
say() { case $3 in '' | *[!0-9]*) ;; *) printf 'hw %s %s %s %s\n' "$host" "$1" "$2" "$3" ;; esac; }
if command -v nvidia-smi >/dev/null; then
  ask() { nvidia-smi --query-gpu="$1" --format=csv,noheader,nounits 2>/dev/null | tr -d ' '; }
  while IFS=, read -r gpu uncorrected corrected; do
    say "gpu$gpu" ecc_uncorrected "$uncorrected"
    say "gpu$gpu" ecc_corrected "$corrected"
  done < <(ask index,ecc.errors.uncorrected.volatile.total,ecc.errors.corrected.volatile.total)
  for why in hw_thermal_slowdown hw_power_brake_slowdown sw_thermal_slowdown; do
    while IFS=, read -r gpu state; do
      case $state in Active) say "gpu$gpu" "$why" 1 ;; NotActive) say "gpu$gpu" "$why" 0 ;; esac
    done < <(ask "index,clocks_event_reasons.$why" | grep -v Field || ask "index,clocks_throttle_reasons.$why")
  done
  while read -r gpu errors; do say "gpu$gpu" nvlink_errors "$errors"; done < <(nvidia-smi nvlink -e 2>/dev/null |
    awk '/^GPU/ {gpu = $2 + 0; sum[gpu] += 0} /Errors?:/ && $NF ~ /^[0-9]+$/ {sum[gpu] += $NF} END {for (g in sum) print g, sum[g]}')
fi
# dmesg is often root's alone
! log=$(dmesg 2>/dev/null) || say node xid "$(grep -c 'NVRM: Xid' <<<"$log")"
for file in /sys/class/infiniband/*/ports/*/counters/{link_downed,symbol_error,port_rcv_errors,link_error_recovery}; do
  [ ! -r "$file" ] || { link=${file#/sys/class/infiniband/} && say "${link%%/*}" "${file##*/}" "$(<"$file")"; }
done
exit 0
