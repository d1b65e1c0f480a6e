"""Sources of crawls (the sample web, the crawler, Common Crawl, WARC files), and the index of their captures."""
