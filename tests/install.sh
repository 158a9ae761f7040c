#!/bin/bash
# Installs what the tests need beside Python: Slurm for a cluster on this machine, a browser (Debian, Ubuntu). Quick when nothing is missing.
# Exit status: 0 all there; 1 something is missing still, and was named.
set -euo pipefail

# what is needed -> the package that has it
needed=(
    slurmctld:slurm-wlm slurmd:slurm-wlm srun:slurm-wlm munged:munge ip:iproute2 gcc:gcc
    /usr/include/slurm/spank.h:libslurm-dev /usr/include/stdio.h:libc6-dev
    slurmdbd:slurmdbd mariadbd:mariadb-server mariadb-install-db:mariadb-server
    nsenter:util-linux setpriv:util-linux chromium:chromium prometheus:prometheus promtool:prometheus
)
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

missing() {     # prints "THING:PACKAGE" for all that is not there
    local pair thing
    for pair in "${needed[@]}"; do
        thing=${pair%:*}
        case $thing in
        /*) [ -e "$thing" ] || echo "$pair" ;;
        *) command -v "$thing" > /dev/null || echo "$pair" ;;
        esac
    done
}

mapfile -t lacking < <(missing)
[ "${#lacking[@]}" != 0 ] || exit 0
mapfile -t packages < <(printf '%s\n' "${lacking[@]##*:}" | sort -u)
if [ "$(id -u)" != 0 ]; then
    echo "not root, so nothing was installed; missing packages: ${packages[*]}" >&2
    exit 1
fi
if ! command -v apt-get > /dev/null; then
    echo "no apt-get here; install by other means: ${lacking[*]%:*}" >&2
    exit 1
fi

# The tests start daemons of their own; those of the packages are not to run on this machine.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod +x "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt=(apt-get -q -y -o DPkg::Lock::Timeout=120)
if ! "${apt[@]}" install --no-install-recommends "${packages[@]}"; then
    "${apt[@]}" update || echo "apt-get update failed" >&2
    "${apt[@]}" install --no-install-recommends "${packages[@]}" || echo "apt-get install failed" >&2
fi

mapfile -t lacking < <(missing)
if [ "${#lacking[@]}" != 0 ]; then
    echo "still missing (thing:package): ${lacking[*]}" >&2
    exit 1
fi
echo "installed: ${packages[*]}"
