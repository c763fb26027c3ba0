"""The HTTP side: REST under /v1, health and metrics. Endpoints are thin, every query is in the store."""
