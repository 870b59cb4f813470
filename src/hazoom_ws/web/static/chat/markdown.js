// Markdown of the AI's answers, while they grow: blocks that are complete stay as they are, only the last one is made anew.
// What comes out of the Markdown library goes through DOMPurify with a list of what is allowed; HTML in an answer is text.

import { CodeBlock } from "./code_blocks.js";
import { leadOut } from "./links.js";

const ALLOWED = {
  ALLOWED_TAGS: [
    ..."p br hr strong em del code pre blockquote ul ol li a h1 h2 h3 h4 h5 h6".split(" "),
    ..."table thead tbody tr th td".split(" "),
  ],
  ALLOWED_ATTR: ["href", "title", "start", "align", "class"],
  ADD_URI_SAFE_ATTR: ["start", "align"], // no addresses
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};
const REST_FACTOR = 8; // a rendering that took 1 ms is followed by 8 ms without one, so that it never takes most of the time
const REST_LIMIT_MS = 500;
const SETTLED_CHARS = 8; // so much of a block tells what kind it is

const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escaped = (text) => text.replace(/[&<>"']/g, (letter) => escapes[letter]);
const markdown = new marked.Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }) => escaped(text),
    image: ({ text, href }) => escaped(text || href), // the page loads nothing from elsewhere
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});

export class MarkdownView {
  #element;
  #tail = null; // holds the block that may still change
  #doneChars = 0;
  #headingLevel = 2; // of the last heading; one more than it is the most that the next one may have
  #openCode = null;
  #restsUntilMs = 0;

  constructor(element) {
    this.#element = element;
  }

  // Whether rendering now would take more than its share of the time.
  get isResting() {
    return performance.now() < this.#restsUntilMs;
  }

  clear() {
    this.#element.replaceChildren();
    this.#tail = this.#openCode = null;
    this.#doneChars = 0;
    this.#headingLevel = 2;
  }

  // Shows a text that begins with what was shown before, unless `clear` was called. ``isWhole``: nothing will follow.
  show(text, isWhole) {
    if (isWhole && this.#doneChars === text.length) return;
    const beganAtMs = performance.now();
    const blocks = markdown.lexer(text.slice(this.#doneChars));
    let last = blocks.length - 1;
    while (last > 0 && blocks[last].type === "space") last -= 1;
    const open = last > 0 && isSettled(blocks[last]) ? last : 0; // those before it are complete
    if (open) {
      const done = blocks.slice(0, open);
      this.#setTail(null);
      this.#element.append(this.#render(done, true));
      this.#doneChars += done.reduce((sum, { raw }) => sum + raw.length, 0);
    }
    this.#showTail(blocks.slice(open));
    if (isWhole) {
      this.#tail?.replaceWith(...this.#tail.childNodes);
      this.#tail = this.#openCode = null;
      this.#doneChars = text.length;
    }
    const tookMs = performance.now() - beganAtMs;
    this.#restsUntilMs = performance.now() + Math.min(REST_LIMIT_MS, REST_FACTOR * tookMs);
  }

  #showTail(blocks) {
    const code = blocks.length && blocks[0].type === "code" && blocks.slice(1).every(({ type }) => type === "space");
    if (code && this.#openCode?.language === CodeBlock.languageOf(blocks[0].lang)) this.#openCode.show(blocks[0].text);
    else if (code) {
      this.#openCode = new CodeBlock(blocks[0].lang);
      this.#openCode.show(blocks[0].text);
      this.#setTail(this.#openCode.element);
    } else {
      this.#openCode = null;
      this.#setTail(blocks.length ? this.#render(blocks, false) : null);
    }
  }

  #setTail(content) {
    this.#openCode = content === this.#openCode?.element ? this.#openCode : null;
    if (!content) {
      this.#tail?.remove();
      this.#tail = null;
      return;
    }
    if (!this.#tail) {
      this.#tail = document.createElement("div");
      this.#tail.className = "tail";
      this.#element.append(this.#tail);
    }
    this.#tail.replaceChildren(content);
  }

  // ``isDone``: these blocks are not rendered again.
  #render(blocks, isDone) {
    let level = this.#headingLevel;
    const fragment = DOMPurify.sanitize(markdown.parser(blocks), ALLOWED);
    for (const pre of fragment.querySelectorAll("pre")) {
      const code = pre.querySelector("code");
      const block = new CodeBlock(/language-(\S+)/.exec(code?.className ?? "")?.[1]);
      block.show((code ?? pre).textContent.replace(/\n$/, ""));
      pre.replaceWith(block.element);
    }
    for (const element of fragment.querySelectorAll("[class]:not(figure, figure *)")) element.removeAttribute("class");
    for (const link of fragment.querySelectorAll("a")) {
      if (link.hasAttribute("href")) leadOut(link);
      else link.replaceWith(...link.childNodes); // its address was not allowed
    }
    for (const table of fragment.querySelectorAll("table")) wrapTable(table);
    for (const heading of fragment.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
      level = Math.min(Number(heading.localName[1]) + 2, level + 1, 6);
      const lower = document.createElement(`h${level}`);
      lower.append(...heading.childNodes);
      heading.replaceWith(lower);
    }
    if (isDone) this.#headingLevel = level;
    return fragment;
  }
}

// A block before this one is complete if this one is clearly another: "1" may become "1." and go on with a list.
function isSettled({ raw = "" }) {
  return raw.length >= SETTLED_CHARS || raw.includes("\n");
}

// A wide table scrolls by itself, with the keyboard too.
function wrapTable(table) {
  const frame = document.createElement("div");
  frame.className = "table";
  frame.tabIndex = 0;
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", "Table");
  table.replaceWith(frame);
  frame.append(table);
}
