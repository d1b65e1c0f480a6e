"""How a crawl comes in: the sample web, an own crawl, Common Crawl, or WARC files; and the index of its captures."""
