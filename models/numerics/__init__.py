"""Matrix and tensor approximations as pure functions; they know no nets."""
