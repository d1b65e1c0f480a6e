-- The largest duplicate clusters, by the page that was kept of each.
-- $files: cluster tables; $number: how many.
SELECT crawl, url, size
FROM read_parquet($files, hive_partitioning = false)
WHERE is_kept
ORDER BY size DESC, url, crawl
LIMIT $number
