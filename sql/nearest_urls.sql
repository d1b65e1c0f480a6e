-- The three captured URLs most similar to an address, in the view raw_warc.
-- $url: the address.
SELECT DISTINCT url, levenshtein(url, $url) AS distance
FROM raw_warc
WHERE length(url) < 500
ORDER BY distance, url
LIMIT 3
