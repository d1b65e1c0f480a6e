-- A few current pages, the same ones every time: those whose doc_id hashes lowest.
-- $files: text tables; $versions: versions of page_versions; $number: how many.
SELECT crawl, url, title, text
FROM read_parquet($files)
SEMI JOIN (SELECT crawl, warc_file, warc_offset FROM read_parquet($versions) WHERE state = 'current')
    USING (crawl, warc_file, warc_offset)
ORDER BY md5(doc_id), url, crawl, warc_file, warc_offset
LIMIT $number
