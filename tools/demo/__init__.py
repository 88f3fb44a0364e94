"""The demo: real photographs found by real sentences, through the `isthmus` command and the public client only."""
