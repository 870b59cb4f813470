// Keys for the whole page. Those of a single letter count only while nobody writes, and can be turned off: who speaks to
// the browser, or hits keys by mistake, would trigger them (WCAG 2.1.4).

import { read, write } from "../browser_storage.js";

const LETTERS_KEY = "hazoom_ws.letters";
const element = (id) => document.getElementById(id);

// ``actions``: focusComposer(), toggleAsking(), chooseRoom(step), scroll(pages), toEnd(), help().
export function listenToKeys(actions) {
  const keys = {
    "?": () => actions.help(),
    "/": () => actions.focusComposer(),
    "j": () => element("join-room").focus(),
  };
  const letters = element("letters");
  letters.checked = read(LETTERS_KEY, true) !== false;
  letters.addEventListener("change", () => write(LETTERS_KEY, letters.checked ? null : false));
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") || event.isComposing) return;
    const isWriting = event.target.matches("input, textarea, select");
    const hasModifier = event.ctrlKey || event.metaKey || event.altKey;
    let action = isWriting || hasModifier || !letters.checked ? null : keys[event.key];
    if (event.altKey && !event.ctrlKey && !event.metaKey) {
      if (event.key === "ArrowUp") action = () => actions.chooseRoom(-1);
      if (event.key === "ArrowDown") action = () => actions.chooseRoom(1);
      if (event.code === "KeyI") action = () => actions.toggleAsking();
    }
    if (!hasModifier && event.target === element("text")) {
      if (event.key === "PageUp") action = () => actions.scroll(-1);
      if (event.key === "PageDown") action = () => actions.scroll(1);
    }
    if (event.ctrlKey && event.key === "End") action = () => actions.toEnd();
    if (!action) return;
    event.preventDefault();
    action();
  });
}
