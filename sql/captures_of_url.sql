-- Captures of exactly this URL, in the view raw_warc.
-- $url: the URL.
SELECT crawl, url, warc_file, warc_offset, fetched_at, status, mime
FROM raw_warc
WHERE url = $url
ORDER BY crawl, fetched_at, warc_file, warc_offset
