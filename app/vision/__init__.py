"""From pixels to persons, faces and vectors. Knows no settings, no database and no torch."""
