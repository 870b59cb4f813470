"""Several processes as one: what others have said and done becomes what this one tells its clients."""
