-- The corpus's page of one capture, over the view clean_corpus.
-- $crawl, $file, $at: the capture.
SELECT *
FROM clean_corpus
WHERE crawl = $crawl AND warc_file = $file AND warc_offset = $at
