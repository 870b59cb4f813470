// Who somebody is in this browser: the name that they chose, or the key that makes a guest the same one after a reload.

import { read, write } from "./browser_storage.js";

const NAME_KEY = "hazoom_ws.name";
const GUEST_KEY = "hazoom_ws.guest_key";

// "" if none was chosen. Earlier versions kept the name as plain text, not as JSON.
export function storedName() {
  const name = read(NAME_KEY, null);
  if (typeof name === "string") return name;
  try {
    return localStorage.getItem(NAME_KEY) ?? "";
  } catch {
    return "";
  }
}

export function storeName(name) {
  write(NAME_KEY, name || null);
}

// A guest key is a secret: it goes to the server alone, in ``auth``.
export function storeGuestKey(key) {
  if (key) write(GUEST_KEY, key);
}

// The fields of ``auth`` that say who connects.
export function identityFor(name) {
  if (name) return { user_name: name };
  const key = read(GUEST_KEY, null);
  return typeof key === "string" ? { guest_key: key } : {};
}
