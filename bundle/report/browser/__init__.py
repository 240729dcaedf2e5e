"""What the report gives a browser: data as JSON, small volumes, its own scripts, and niivue."""
