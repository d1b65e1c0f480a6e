-- The largest duplicate clusters, by the page that was kept.
-- $files: cluster tables; $number: how many.
SELECT crawl, url, size
FROM read_parquet($files)
WHERE kept
ORDER BY size DESC, url, crawl
LIMIT $number
