"""The IPVS mode's shells: the probe, the kernel's virtual servers and addresses, and the proxier that applies both."""
