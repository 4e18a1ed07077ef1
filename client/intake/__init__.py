"""From whatever folder a hospital has to prepared, pseudonymous examples in the catalog."""
