"""The DNS server's shell: its processes, sockets and timers.

* `service`: the process that a user starts. It follows the cluster, opens the sockets, keeps the workers alive.
* `worker`: the process that answers. One thread, one `loop`; what it does with sockets is in `udp`, `tcp`, `outside`.
"""
