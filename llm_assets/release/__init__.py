"""What leaves the house: the model in the formats of others, and the page that tells the whole road."""
