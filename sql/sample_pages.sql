-- A few pages, the same ones every time: those whose doc_id hashes lowest.
-- $files: text tables; $number: how many.
SELECT crawl, url, title, text
FROM read_parquet($files)
ORDER BY md5(doc_id), url, crawl, warc_file, warc_offset
LIMIT $number
