"use strict";
// Runs before the page is painted, so that a theme that was chosen does not flash up as the other one. See settings.js.
try {
  const theme = JSON.parse(localStorage.getItem("hazoom_ws.theme"));
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // the browser forbids it; then the system's theme is shown
}
