"""``python -m llm_assets.web.crawler <plan.json>``: runs one crawl in a separate process."""

import sys

from .spider import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
