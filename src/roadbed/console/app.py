"""The web console: server-rendered pages beside the control API."""

from fastapi import FastAPI


def mount(app: FastAPI) -> None:
    """Adds the console's routes."""
