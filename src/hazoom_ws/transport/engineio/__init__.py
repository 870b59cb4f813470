"""Engine.IO v4: sessions, heartbeats, upgrade, polling."""
