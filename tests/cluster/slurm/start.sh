#!/usr/bin/env bash
# start.sh FOLDER FIRST_PORT: Slurm's daemons in namespaces of their own, until this process ends. With
#   setpriv --pdeathsig KILL unshare --pid --fork --kill-child --mount --mount-proc start.sh ...
# nothing survives the process that starts it: no daemon, no job, no mount. Needs slurm-wlm and munge, and root.
# Every node is a host of its own name (a UTS namespace), whose hosts file knows the others.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
home=$1 port=$2
export SLURM_CONF=$home/slurm.conf
mkdir -p "$home/controller" "$home"/n{1,2,3,4}
for file in slurm.conf gres.conf; do
  sed -e "s|@HOME@|$home|g" -e "s|@CONTROLLER@|$port|" -e "s|@NODES@|$((port + 1))-$((port + 4))|" "$here/$file" > "$home/$file"
done
for number in 0 1 2 3; do mknod -m 666 "$home/gpu$number" c 1 3; done

dd if=/dev/urandom of="$home/munge.key" bs=128 count=1 status=none
chmod 400 "$home/munge.key"
munged --force --socket="$home/munge.socket" --key-file="$home/munge.key" --pid-file="$home/munge.pid" \
  --log-file="$home/munge.log" --seed-file="$home/munge.seed" 2> /dev/null

slurmctld -c -f "$SLURM_CONF"
{ cat /etc/hosts; echo '127.0.0.1 n1 n2 n3 n4'; } > "$home/hosts"
for node in n1 n2 n3 n4; do
  unshare --uts --mount bash -c "hostname $node; mount --bind $home/hosts /etc/hosts; echo $node \$(readlink /proc/self/ns/uts) >> $home/nodes; exec slurmd -N $node -f $SLURM_CONF"
done
echo $$ > "$home/started"
while true; do sleep 3600 & wait $!; done  # as the namespace's first process it reaps the others
