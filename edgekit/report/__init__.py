"""What a build or an inspection found, as data: the command line and the output folder show it."""
