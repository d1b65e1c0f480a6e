-- The page of the corpus that one capture became, in the view clean_corpus.
-- $crawl, $file, $at: the capture's crawl, WARC file and offset.
SELECT *
FROM clean_corpus
WHERE crawl = $crawl AND warc_file = $file AND warc_offset = $at
