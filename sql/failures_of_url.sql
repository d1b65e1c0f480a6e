-- Why a crawl did not store a URL: exactly this one, or the same without scheme, "www." and a final slash.
-- $files: tables of crawl failures; $url: the URL.
SELECT url, reason, detail
FROM read_parquet($files, hive_partitioning = false)
WHERE regexp_replace(regexp_replace(url, '^[a-z]+://(www\.)?', ''), '/$', '')
    = regexp_replace(regexp_replace($url::VARCHAR, '^[a-z]+://(www\.)?', ''), '/$', '')
ORDER BY url, reason
