"""What makes the kernel match the plan: sockets, processes and files, one concern per file."""
