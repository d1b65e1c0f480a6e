-- The capture at one place, in the view raw_warc.
-- $crawl, $file, $at: the capture's crawl, WARC file and offset.
SELECT crawl, url, warc_file, warc_offset, fetched_at, status, mime
FROM raw_warc
WHERE crawl = $crawl AND warc_file = $file AND warc_offset = $at
