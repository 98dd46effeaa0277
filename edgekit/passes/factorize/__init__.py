"""Low-rank factorization: a layer becomes two thin ones that together multiply less."""
