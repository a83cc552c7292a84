#!/bin/sh
# Makes a machine of the calling process, in namespaces of its own, and starts containerd and the kubelet on it.
# usage: boot.sh PLACE LAYERS PROGRAMS LAB NODE-IPS      as process 1 of new mount, PID, UTS, IPC and cgroup namespaces,
# in the network namespace of the node. It ends when one of the two does, and takes everything with it.
#   PLACE     a directory on a disk: images.tar, kubelet.yaml, containerd.toml, kubeconfig are there; all state goes there
#   LAYERS    overlay's lowerdir: a Debian with containerd and runc
#   PROGRAMS  where kubelet is
#   NODE      its name
#   NODE_IPS  the addresses of the node
set -eu
place=$1 layers=$2 programs=$3 node=$4 node_ips=$5
root=$place/root

mount -t overlay overlay -o "lowerdir=$layers,upperdir=$place/upper,workdir=$place/work" "$root"
cd "$root"
mkdir -p programs place var/lib/containerd var/lib/kubelet var/log/pods lib/modules
mount --bind "$programs" programs
mount --bind "$place" place
for state in lib/containerd lib/kubelet log/pods; do
  mkdir -p "$place/state/$state"
  mount --bind "$place/state/$state" "var/$state"
done
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount --rbind /dev dev
mount -t sysfs sysfs sys
mount -t proc proc proc

# The kubelet wants these settings of the kernel, which are the whole machine's: it finds them as it wants them, and only
# those of the network, which are the namespace's, can be written.
for machines in fs kernel vm; do
  mount --bind "proc/sys/$machines" "proc/sys/$machines"
  mount -o remount,bind,ro "proc/sys/$machines"
done
setting() {
  echo "$2" > "run/$(basename "$1")"
  mount --bind "run/$(basename "$1")" "proc/sys/$1"
}
setting vm/overcommit_memory 1
setting vm/panic_on_oom 0
setting kernel/panic 10
setting kernel/panic_on_oops 1
setting kernel/keys/root_maxkeys 1000000
setting kernel/keys/root_maxbytes 25000000

# Control groups: the namespace makes the group that the process is in the root of all.
if [ ! -e /sys/fs/cgroup/cgroup.procs ]; then
  mount -t tmpfs tmpfs sys/fs/cgroup
  sed -n 's/^[1-9][0-9]*:\([^:]*\):.*/\1/p' /proc/self/cgroup | while read -r controllers; do
    name=${controllers#name=}
    mkdir "sys/fs/cgroup/$name"
    mount -t cgroup -o "$([ "$name" = "$controllers" ] || echo none,)$controllers" cgroup "sys/fs/cgroup/$name"
  done
else
  mount -t cgroup2 cgroup2 sys/fs/cgroup
fi

mkdir -p mnt
pivot_root . mnt
umount -l /mnt
mount --make-rshared /
hostname "$node"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root

mkdir -p /etc/cni/net.d
echo '{"cniVersion": "0.3.1", "name": "lab", "type": "none"}' > /etc/cni/net.d/lab.conf
containerd --config /place/containerd.toml > /place/containerd.log 2>&1 &
until ctr version > /dev/null 2>&1; do kill -0 $!; sleep 0.1; done
ctr --namespace k8s.io images import /place/images.tar > /place/import.log 2>&1
rm /place/images.tar
/programs/kubelet --config=/place/kubelet.yaml --kubeconfig=/place/kubeconfig --hostname-override="$node" \
  --node-ip="$node_ips" > /place/kubelet.log 2>&1 &
wait $!
