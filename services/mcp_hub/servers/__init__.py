"""The hub's own MCP servers: thin faces over the agent's HTTP API."""
