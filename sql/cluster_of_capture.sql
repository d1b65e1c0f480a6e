-- The duplicate cluster of one capture, with the kept page first, in the view duplicate_clusters.
-- $crawl, $file, $at: the capture's crawl, WARC file and offset.
SELECT *
FROM duplicate_clusters
WHERE cluster IN (
    SELECT cluster FROM duplicate_clusters WHERE crawl = $crawl AND warc_file = $file AND warc_offset = $at
)
ORDER BY is_kept DESC, url
LIMIT 20
