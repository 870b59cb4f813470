"""Documents that many edit at once, with Yjs' own engine (pycrdt). Served by `hazoom_ws.namespaces.documents`."""
