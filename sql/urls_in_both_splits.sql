-- URLs with documents in more than one split.
-- $documents: indexes of token shards; $number: how many at most.
SELECT url
FROM read_parquet($documents, hive_partitioning = false)
GROUP BY url
HAVING count(DISTINCT split) > 1
ORDER BY url
LIMIT $number
