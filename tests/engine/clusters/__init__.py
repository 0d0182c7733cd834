"""Tests on one cluster of Ray; a package, so that the cluster ends with them."""
