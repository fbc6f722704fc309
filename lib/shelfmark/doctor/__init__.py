"""What is wrong with a set of pictures and their labels: copies, leaks, doubtful labels, faulty pictures."""
