"""Weight sharing: a code book of few values for each layer, so that its weights compress."""
