"""The configuration file: kube-proxy's KubeProxyConfiguration, and kproxy's own settings beside it. Pure."""
