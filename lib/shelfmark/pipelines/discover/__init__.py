"""`shelfmark discover`: new products from unlabelled photographs, round after round."""
