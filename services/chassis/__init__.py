"""How every process starts and speaks: settings, logs, app, auth, http, errors. Knows no domain word."""
