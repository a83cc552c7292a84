"""`python -m kproxy` is the same program as `kproxy`."""

from kproxy.cli import main

if __name__ == "__main__":
    main()
