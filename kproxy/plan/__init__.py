"""What this node must do: pure functions from state to the objects wanted in the kernel."""
