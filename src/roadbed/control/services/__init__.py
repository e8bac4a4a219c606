"""What the API does, one file per noun: no HTTP here, no reconciling. Event first, state in the same transaction."""
