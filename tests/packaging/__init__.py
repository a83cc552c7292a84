"""The container image and the systemd units, built and run without a registry and without a container engine."""
