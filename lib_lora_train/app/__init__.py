"""Jobs, run folders, publishing, routes and the command line."""
