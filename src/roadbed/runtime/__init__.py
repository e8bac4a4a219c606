"""Where processes run: `local` (this machine). Ray comes as a second implementation of the same interface."""
