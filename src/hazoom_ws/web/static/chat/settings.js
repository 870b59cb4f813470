// What one chooses for this page: a name, the theme, sound and notifications. The browser keeps it; no server hears of it,
// but for the name.

import { read, write } from "../browser_storage.js";
import { storedName, storeName } from "../identity.js";
import { showAvatar } from "./rows.js";

const THEME_KEY = "hazoom_ws.theme";
const SOUND_KEY = "hazoom_ws.sound";
const NOTIFICATIONS_KEY = "hazoom_ws.notifications";
const element = (id) => document.getElementById(id);
const dialog = element("settings");

export class Settings {
  #handlers;
  hasSound = read(SOUND_KEY, false) === true;
  name = storedName();

  // ``handlers``: onName(name), onSound().
  constructor(handlers) {
    this.#handlers = handlers;
    element("me").addEventListener("click", () => this.open());
    element("choose-name").addEventListener("click", () => this.open());
    element("settings-form").addEventListener("submit", () => this.#save());
    for (const radio of dialog.querySelectorAll("[name=theme]")) {
      radio.checked = radio.value === read(THEME_KEY, "system");
      radio.addEventListener("change", () => setTheme(radio.value));
    }
    element("sound").checked = this.hasSound;
    element("sound").addEventListener("change", ({ target }) => {
      this.hasSound = target.checked;
      write(SOUND_KEY, this.hasSound || null);
      if (this.hasSound) handlers.onSound();
    });
    element("notifications").checked = this.hasNotifications;
    element("notifications").disabled = !("Notification" in window);
    element("notifications").addEventListener("change", ({ target }) => this.#setNotifications(target.checked));
  }

  // The browser may take its permission back at any time.
  get hasNotifications() {
    return read(NOTIFICATIONS_KEY, false) === true && window.Notification?.permission === "granted";
  }

  open() {
    element("name").value = this.name;
    dialog.showModal();
    element("name").select();
  }

  // Who one is, as the server says, and which server that is.
  showMe({ user, server, limits }) {
    element("my-name").textContent = user;
    element("name").placeholder = user;
    element("name").maxLength = limits.user_name_chars ?? 64;
    showAvatar(element("my-avatar"), user);
    element("version").textContent = `${server.name} ${server.version}`;
    document.body.classList.toggle("is-guest", !this.name);
  }

  #save() {
    const name = element("name").value.trim();
    if (name === this.name) return;
    this.name = name;
    storeName(name);
    this.#handlers.onName(name);
  }

  async #setNotifications(isWanted) {
    const isAllowed = isWanted && (await Notification.requestPermission()) === "granted";
    write(NOTIFICATIONS_KEY, isAllowed || null);
    element("notifications").checked = isAllowed;
    element("notifications-hint").textContent =
      isWanted && !isAllowed ? "The browser does not allow it: see the settings of this site there." : "";
  }
}

function setTheme(theme) {
  write(THEME_KEY, theme === "system" ? null : theme);
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}
