"""One task's work: open the workspace, let the model act through the hub, collect the evidence.

The event log is the only state: the messages, what is pending and the result are functions of it.
"""
