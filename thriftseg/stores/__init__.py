"""What the package writes and reads back: labels, their rows and prices, reviews, training sets of networks."""
