"""The laptop: command line, stack supervisor, embedded Postgres, doctor. In no image."""
