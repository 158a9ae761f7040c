#!/usr/bin/env bash
# Collects this machine's Slurm, munge and iproute2 with the libraries that they need, for a machine without a network.
# usage: slurm_part.sh OUT     writes OUT/slurm.tgz; unpack it there with: tar xzf slurm.tgz -C / --skip-old-files && ldconfig
set -euo pipefail
out=${1:?usage: slurm_part.sh OUT}
mkdir -p "$out"
packages=(slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge libmunge2 iproute2)
list=$(mktemp)
trap 'rm -f "$list"' EXIT

dpkg -L "${packages[@]}" | sort -u | while read -r file; do
    [ -f "$file" ] || [ -L "$file" ] || continue
    case $file in
    /usr/share/* | /etc/init.d/* | /lib/systemd/*) ;;
    *) echo "$file" ;;
    esac
done > "$list"
for name in slurmctld slurmd slurmstepd; do printf '%s\n' "/etc/alternatives/$name" "/usr/sbin/$name"; done >> "$list"
# Their libraries, but those of the C library: every system has its own.
while read -r file; do
    ldd "$(readlink -f "$file")" 2> /dev/null | awk '$3 ~ "^/" {print $3}' || true
done < <(grep -E '/s?bin/|\.so' "$list") | sort -u | grep -vE '/(libc|libm|libdl|libpthread|librt|libresolv|ld-linux[^/]*)\.so' |
    while read -r library; do
        echo "$library"
        readlink -f "$library"
    done >> "$list"
sort -u "$list" | sed 's,^/,,' | tar czf "$out/slurm.tgz" -C / --no-recursion --files-from -
ls -l "$out/slurm.tgz"
