"""A kernel of our own for the tests: User-Mode Linux, which has IPVS, dummy links and SCTP, and needs no root.

It runs as a process, on this machine's files and with networks of its own, so nothing in it can touch the host's rules,
addresses or settings. The kernel is built once (`build.sh`, `kernel.config`) and kept in a cache folder.

python -m tests.uml               builds the kernel where it is missing, and prints its path
python -m tests.uml COMMAND...    runs a command inside, as root there, and exits with its status
python -m tests.uml.suite         runs the tests that belong inside (`make test` does it)
"""
