"""Features as an application adds them: they import nothing of the server but `hazoom_ws.features`."""
