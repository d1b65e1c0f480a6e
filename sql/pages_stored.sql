-- How many pages a crawl stored: answers with status 200, revisits and resources, without robots.txt.
-- $files: capture indexes.
SELECT count(*) AS pages
FROM read_parquet($files, hive_partitioning = false)
WHERE record_type <> 'corrupt'
    AND (record_type <> 'response' OR status = 200)
    AND NOT regexp_matches(url, '^[a-z]+://[^/]+/robots\.txt$')
