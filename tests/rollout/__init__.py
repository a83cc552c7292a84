"""A node with a real containerd and kubelet, on which the DaemonSets of kproxy and of kubeadm's kube-proxy run as Pods."""
