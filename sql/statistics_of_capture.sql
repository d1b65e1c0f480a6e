-- The statistics of one capture that the quality rules test, in the views text_statistics and language_filtered_text.
-- $crawl, $file, $at: the capture's crawl, WARC file and offset.
SELECT s.*
FROM text_statistics AS s
JOIN language_filtered_text AS t USING (doc_id, warc_offset)
WHERE t.crawl = $crawl AND t.warc_file = $file AND t.warc_offset = $at
LIMIT 1
