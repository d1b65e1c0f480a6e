-- Pages by length of their text, in powers of two of characters.
-- $files: text tables.
SELECT floor(log2(greatest(length(text), 1)))::BIGINT AS power, count(*) AS pages
FROM read_parquet($files)
GROUP BY power
ORDER BY power
