// What the browser keeps for a page. It may forbid that, or be full: then a page works without.

// The value under a key, or the fallback. ``area``: localStorage (all tabs, for good) or sessionStorage (this tab).
export function read(key, fallback, area = "localStorage") {
  try {
    return JSON.parse(window[area].getItem(key)) ?? fallback;
  } catch {
    return fallback;
  }
}

// Keeps a value, or forgets the key if it is null. Returns whether that worked.
export function write(key, value, area = "localStorage") {
  try {
    if (value === null) window[area].removeItem(key);
    else window[area].setItem(key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}
