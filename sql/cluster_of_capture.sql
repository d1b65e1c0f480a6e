-- The duplicate cluster that one capture is in, the page that was kept first, over the view duplicate_clusters.
-- $crawl, $file, $at: the capture.
SELECT *
FROM duplicate_clusters
WHERE cluster IN (SELECT cluster FROM duplicate_clusters WHERE crawl = $crawl AND warc_file = $file AND warc_offset = $at)
ORDER BY kept DESC, url
LIMIT 20
