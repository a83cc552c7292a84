"""A node that changes hands: from kube-proxy to kproxy and back, and between kproxy's own modes."""
