"""Release: the assistant in the file formats of other libraries, and a scorecard of the whole pipeline."""
