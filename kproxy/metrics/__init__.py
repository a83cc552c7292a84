"""Metrics: kube-proxy's names, labels and buckets, and some of kproxy's own, with the server that shows them."""
