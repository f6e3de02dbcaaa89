"""Critics in another form than they came in, made on the user's machine and kept in its cache."""
