"""Release: the model in the formats of others, and one page from crawl to assistant."""
