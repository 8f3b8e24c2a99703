"""Tasks of a loop on the page: what a person with files is asked, shown and answered in the browser."""
