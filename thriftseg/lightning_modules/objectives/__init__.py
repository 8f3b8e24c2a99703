"""What a network learns from: terms, and the objectives that published recipes make of them."""
