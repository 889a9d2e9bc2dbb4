"""The orchestrator: public API, durable tasks, the reasoning loop, runtimes. Calls go main > api > dispatch > reason
> runtimes | agents | hub | model > store > domain; what comes back up is a value or an event row.
"""
