"""The public HTTP API: parse, call one function, return a wire model."""
