"""REST under /api: thin routers over services/, one file per noun."""
