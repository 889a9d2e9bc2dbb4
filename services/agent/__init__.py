"""The agent: the hands on one repository's work tree. Holds no model, no secret and no conversation."""
