-- A few current pages, always the same ones: those whose doc_id has the lowest hashes.
-- $files: text tables; $versions: tables of page_versions; $number: how many.
SELECT crawl, url, title, text
FROM read_parquet($files, hive_partitioning = false)
SEMI JOIN (
    SELECT crawl, warc_file, warc_offset FROM read_parquet($versions, hive_partitioning = false) WHERE state = 'current'
) USING (crawl, warc_file, warc_offset)
ORDER BY md5(doc_id), url, crawl, warc_file, warc_offset
LIMIT $number
