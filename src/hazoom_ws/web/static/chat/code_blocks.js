// A block of code: its language, a button that copies it, and highlighting by a library that is fetched at the first block.

import { copy } from "./clipboard.js";

const HIGHLIGHTED_CHARS = 20_000; // a longer one is shown plain: highlighting it again for each token would take too long
const SPANS = { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], RETURN_DOM_FRAGMENT: true };
let library = null; // the library, once it is there
let loading = null;

export class CodeBlock {
  #code = document.createElement("code");
  #text = "";
  language;
  element = document.createElement("figure");

  constructor(info) {
    this.language = CodeBlock.languageOf(info);
    const caption = document.createElement("figcaption");
    const name = document.createElement("span");
    const button = document.createElement("button");
    const pre = document.createElement("pre");
    name.textContent = this.language || "code";
    button.type = "button";
    button.textContent = "Copy";
    button.setAttribute("aria-label", "Copy code");
    button.addEventListener("click", () => copy(this.#text, button));
    caption.append(name, button);
    pre.tabIndex = 0; // it scrolls, with the keyboard too
    pre.setAttribute("role", "region");
    pre.setAttribute("aria-label", "Code");
    pre.append(this.#code);
    this.element.className = "code";
    this.element.append(caption, pre);
  }

  // The first word after the fence.
  static languageOf(info) {
    return /^[\w#+.-]{1,32}/.exec(info ?? "")?.[0] ?? "";
  }

  show(text) {
    const before = this.#text;
    this.#text = text;
    if (library && this.#isHighlighted) this.#highlight();
    else if (before && !library && text.startsWith(before)) this.#code.append(text.slice(before.length));
    else this.#code.textContent = text;
    if (!library && this.#isHighlighted) load().then(() => library && this.#isHighlighted && this.#highlight());
  }

  get #isHighlighted() {
    return this.language !== "" && this.#text.length <= HIGHLIGHTED_CHARS;
  }

  #highlight() {
    if (!library.getLanguage(this.language)) {
      this.#code.textContent = this.#text;
      return;
    }
    const { value } = library.highlight(this.#text, { language: this.language, ignoreIllegals: true });
    this.#code.replaceChildren(DOMPurify.sanitize(value, SPANS));
  }
}

// Without the library code is plain.
function load() {
  loading ??= import("../vendor/highlight.min.js").then(
    (module) => (library = module.default),
    () => (loading = null),
  );
  return loading;
}
