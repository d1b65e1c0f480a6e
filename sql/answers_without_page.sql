-- Answers of a crawl that stored no page, other than for robots.txt: how many of each status, with an example URL.
-- $files: capture indexes.
SELECT status, count(*) AS answers, min(url) AS url
FROM read_parquet($files, hive_partitioning = false)
WHERE record_type = 'response' AND status <> 200 AND NOT regexp_matches(url, '^[a-z]+://[^/]+/robots\.txt$')
GROUP BY status
ORDER BY status
