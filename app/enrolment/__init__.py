"""Bulk enrolment: folders, tables, archives and dumps become people, each photo judged, each refusal with a reason."""
