"""Where agents run: one protocol, one module per backend, and the lifecycle that ties them to rows."""
