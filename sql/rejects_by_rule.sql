-- Rejected pages by crawl, stage and rule.
-- $files: reject tables (or ledgers).
SELECT crawl, stage, rule, count(*) AS pages
FROM read_parquet($files)
GROUP BY ALL
ORDER BY ALL
