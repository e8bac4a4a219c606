"""The usage ledger: every request once, whatever crashes. Writers append, one reader settles."""
