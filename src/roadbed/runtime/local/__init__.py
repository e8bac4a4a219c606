"""Processes of this machine: one small agent per ROADBED_HOME, and the clients that talk to it.

`agent` is the daemon, `sentinel` ends what a killed agent leaves, `client` is what everybody else imports.
"""
