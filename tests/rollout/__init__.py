"""A node with a real containerd and kubelet, on which DaemonSets run as Pods: kproxy's, and kubeadm's kube-proxy."""
