"""The dashboard: pages made on the server, with the same rules and the same store as the API.

A page's path is that of its resource under /v1 without the /v1. Changes go through the functions of `app.api`, so that
what an operator may say, and what the audit trail notes, is written down once.
"""
