"""Labels in doubt: which training images carry a label that their features speak against."""
