-- What a crawl says of a URL that it did not store: exactly this one, or without scheme, "www." and a closing slash.
-- $files: tables of crawl failures. $url: the URL.
SELECT url, reason, detail
FROM read_parquet($files)
WHERE regexp_replace(regexp_replace(url, '^[a-z]+://(www\.)?', ''), '/$', '')
    = regexp_replace(regexp_replace($url::VARCHAR, '^[a-z]+://(www\.)?', ''), '/$', '')
ORDER BY url, reason
