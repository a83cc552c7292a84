# kproxy for a DaemonSet: kube-proxy's image with another program in it. The kernel is the node's; the tools are here, in both
# iptables variants, of which kproxy takes the one that the node's kubelet uses.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv
RUN python3 -m venv /opt/kproxy
COPY pyproject.toml README.md CHANGELOG.md LICENSE /src/
COPY rules /src/rules
COPY kproxy /src/kproxy
RUN /opt/kproxy/bin/pip install --no-cache-dir --no-compile '/src[kubernetes]' && /opt/kproxy/bin/pip uninstall -y pip setuptools
# A root file system that is read-only keeps no bytecode: without it every start would compile anew, half of its time. The
# package kubernetes, which is large, is for credential plugins alone.
RUN /opt/kproxy/bin/python -m compileall -q -x 'site-packages/kubernetes/' /opt/kproxy/lib

FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends python3 iptables nftables kmod && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/kproxy /opt/kproxy
# The second name takes kube-proxy's own command line: a DaemonSet of kube-proxy needs another image and nothing else.
RUN ln -s /opt/kproxy/bin/kproxy /usr/local/bin/kproxy && ln -s /opt/kproxy/bin/kproxy /usr/local/bin/kube-proxy
# The root file system may be read-only: nothing is written but the kernel's rules and the iptables lock in /run.
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
ENTRYPOINT ["/usr/local/bin/kproxy"]
CMD ["run"]
