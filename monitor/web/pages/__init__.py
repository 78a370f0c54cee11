"""The pages: a file for each, with the routes that it answers."""
