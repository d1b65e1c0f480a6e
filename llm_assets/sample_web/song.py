"""A song that many pages quote word for word, as they do a licence, a prayer or a proverb of the real web."""

TITLE = "The song of the lamplighter"
LINES = [
    "When the last boat is home and the harbour is still, I carry my ladder along the old quay.",
    "I have seven lamps for the seven small streets, and a match in my pocket for each of them.",
    "The first is for sailors, the second for bread, the third for the child that is late from the hill.",
    "And the seventh I light for whoever is lost, so that somebody sees it and turns.",
]
SONG = " ".join(LINES)
QUOTED_EVERY = (29, 6)  # articles that quote it: page number modulo the first equals the second
