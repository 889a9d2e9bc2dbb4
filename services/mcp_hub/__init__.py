"""The only door out of a sandbox and to its tools: MCP endpoint, git gateway, egress proxy."""
