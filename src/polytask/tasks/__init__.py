"""One file per kind of target: encoding, loss, link, metrics, baseline."""
