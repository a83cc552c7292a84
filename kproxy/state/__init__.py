"""What the cluster says, parsed and merged: pure data, no I/O."""
