#!/bin/sh
# Builds one real program from Go modules into a directory.
# usage: build.sh DIRECTORY PROGRAM     e.g. build.sh ~/.cache/peers kube-apiserver
# A change of version: edit the `require` and `replace` lines of the program's go.mod, then `go mod tidy`.
set -e
here=$(cd "$(dirname "$0")" && pwd)
out=$(mkdir -p "$1" && cd "$1" && pwd)
program=$2
flags="-s -w"
case $program in
  etcd) module=etcd package=go.etcd.io/etcd/server/v3 ;;
  coredns) module=coredns package=github.com/coredns/coredns ;;
  prometheus | promtool)
    # From Debian's package, unpacked: to install it would start a daemon.
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cd "$work"
    echo "fetching $program" >&2
    apt-get download -qq prometheus 2>/dev/null
    dpkg -x prometheus_*.deb .
    mv "usr/bin/$program" "$out/$program"
    exit
    ;;
  monitoring.yaml) module=monitoring package=sigs.k8s.io/controller-tools/cmd/controller-gen ;;
  *)
    module=kubernetes package=k8s.io/kubernetes/cmd/$program
    version=$(sed -n 's/^require k8s.io\/kubernetes v//p' "$here/kubernetes/go.mod")
    minor=${version#1.}
    set_version="-X k8s.io/component-base/version"
    flags="$flags $set_version.gitVersion=v$version $set_version.gitMajor=1 $set_version.gitMinor=${minor%%.*}"
    ;;
esac

# Go writes into the module's directory; the repository stays as it is.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/$module"/* "$work"
cd "$work"
echo "building $program" >&2
go build -trimpath -ldflags "$flags" -o "$work/built" "$package"
if [ "$program" = monitoring.yaml ]; then
  # Not a program: the Prometheus operator's resource definitions, made from its Go types by the tool just built.
  types=github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1
  ./built crd "paths=$types" output:crd:dir=crds
  cat crds/*_servicemonitors.yaml crds/*_prometheusrules.yaml > built
fi
# In one step, so that a program in the directory is always a whole one.
cp "$work/built" "$out/.$program.$$"
mv "$out/.$program.$$" "$out/$program"
