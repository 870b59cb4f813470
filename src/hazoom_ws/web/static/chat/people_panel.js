// Who is in the room that is shown, and who of them types.

import { showAvatar } from "./rows.js";

const NAMES_COUNT = 3; // of those who type
const FACES_COUNT = 3;
const element = (id) => document.getElementById(id);

export class PeoplePanel {
  #isWide = matchMedia("(min-width: 70rem)");
  #isOpen = this.#isWide.matches;

  constructor() {
    element("people-button").addEventListener("click", () => {
      this.#setOpen(!this.#isOpen);
      if (this.#isOpen && !this.#isWide.matches) element("close-people").focus(); // it lies over the rest
    });
    element("close-people").addEventListener("click", () => {
      this.#setOpen(false);
      element("people-button").focus();
    });
    element("people-panel").addEventListener("keydown", (event) => event.key === "Escape" && element("close-people").click());
    this.#isWide.addEventListener("change", ({ matches }) => this.#setOpen(matches));
    this.#setOpen(this.#isOpen);
  }

  show({ people, count }, me) {
    element("people").replaceChildren(...people.map((name) => person(name, name === me)));
    element("count").textContent = count;
    element("people-title-count").textContent = count;
    element("more-people").hidden = count <= people.length;
    element("more-people").textContent = `and ${count - people.length} more`;
    element("faces").replaceChildren(...people.slice(0, FACES_COUNT).map(face));
  }

  showTypists({ typists }) {
    const names = [...typists];
    const shown = names.slice(0, NAMES_COUNT);
    if (names.length > NAMES_COUNT) shown.push(`${names.length - NAMES_COUNT} more`);
    const text = names.length ? `${shown.join(", ")} ${names.length > 1 ? "are" : "is"} typing …` : "";
    element("typing").textContent = text;
  }

  #setOpen(isOpen) {
    this.#isOpen = isOpen;
    document.body.classList.toggle("has-people", isOpen);
    element("people-panel").hidden = !isOpen;
    element("people-button").setAttribute("aria-expanded", String(isOpen));
  }
}

function person(name, isMe) {
  const item = document.createElement("li");
  const shown = document.createElement("bdi");
  shown.textContent = name;
  item.append(face(name), shown);
  if (isMe) item.append(" (you)");
  return item;
}

function face(name) {
  const avatar = document.createElement("span");
  showAvatar(avatar, name);
  return avatar;
}
