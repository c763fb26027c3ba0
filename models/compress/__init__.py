"""Makes nets smaller: kinds of compression behind one verb, and what they are compared by."""
