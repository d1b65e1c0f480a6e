-- The hosts with the most text.
-- $files: text tables; $number: how many hosts.
SELECT host, count(*) AS pages, sum(strlen(text))::BIGINT AS bytes
FROM read_parquet($files)
GROUP BY host
ORDER BY bytes DESC, host
LIMIT $number
