"""The control plane: keeps what people asked for, watches what runs, takes the next step (docs/design/control.md)."""
