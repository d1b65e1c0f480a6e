-- How many pages each rule of each stage rejected, by crawl.
-- $files: reject tables or ledgers.
SELECT crawl, stage, rule, count(*) AS pages
FROM read_parquet($files, hive_partitioning = false)
GROUP BY ALL
ORDER BY ALL
