"""Recognition: sets of aligned faces, what an embedder learns from, and how it leaves."""
