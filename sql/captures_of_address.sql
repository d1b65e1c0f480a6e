-- Captures of a URL as a person types it, without scheme, "www." and a final slash, in the view raw_warc.
-- $url: the address.
SELECT crawl, url, warc_file, warc_offset, fetched_at, status, mime
FROM raw_warc
WHERE regexp_replace(regexp_replace(url, '^[a-z]+://(www\.)?', ''), '/$', '')
    = regexp_replace(regexp_replace($url::VARCHAR, '^[a-z]+://(www\.)?', ''), '/$', '')
ORDER BY crawl, fetched_at, warc_file, warc_offset
