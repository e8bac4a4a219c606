"""The web console: server-rendered pages beside the control API."""
