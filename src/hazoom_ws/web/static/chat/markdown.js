// Markdown of the AI's answers, while they grow: blocks that are complete stay as they are, only the last one is made anew.
// What comes out of the Markdown library goes through DOMPurify with a list of what is allowed; HTML in an answer is text.
//
// The library takes quadratic time for some texts, and gives up on what is nested too deep: so it gets a few thousand
// characters at a time, and fenced code, which may be long, does not go through it at all.

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
const SLICE_MS = 6; // after which `show` lets the page have its turn
const BLOCK_CHARS = 2000; // a longer paragraph is cut
const LISTED_CHARS = 6000; // a longer list or table is cut, if its lines are short: those take linear time
const LINE_CHARS = 400;
const FENCE = /^(?:(`{3,})([^`\n]*)|(~{3,})([^\n]*))(?:\n|$)/;
const NEXT_FENCE = /^(?:`{3,}[^`\n]*|~{3,}[^\n]*)$/gm;
const DEFINITION = /^ {0,3}\[[^\]\n]{1,200}\]:/m; // of a link that is used elsewhere
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
  #isWhole = false; // nothing will follow
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
    this.#isWhole = false;
    this.#headingLevel = 2;
  }

  // Shows a text that begins with what was shown before, unless `clear` was called. ``isWhole``: nothing will follow. Returns
  // whether all of it is shown; if not, it is to be called again.
  show(text, isWhole) {
    text = text.replace(/\r\n?/g, "\n");
    if (isWhole && !this.#isWhole) {
      if (this.#doneChars && DEFINITION.test(text)) this.clear(); // there are links that were not known to be any
      this.#isWhole = true;
    }
    const beganAtMs = performance.now();
    let tookMs = 0;
    while (this.#doneChars < text.length && tookMs < SLICE_MS) {
      const doneChars = this.#doneChars;
      const fence = FENCE.exec(text.slice(doneChars, doneChars + LINE_CHARS));
      if (fence) this.#showCode(text, fence, isWhole);
      else this.#showBlocks(text, isWhole);
      tookMs = performance.now() - beganAtMs;
      if (doneChars === this.#doneChars) break; // the rest may still change
    }
    this.#restsUntilMs = performance.now() + Math.min(REST_LIMIT_MS, REST_FACTOR * tookMs);
    return !isWhole || this.#doneChars >= text.length;
  }

  #showCode(text, [opening, ticks, info, tildes, otherInfo], isWhole) {
    const marks = ticks ?? tildes;
    const start = this.#doneChars + opening.length;
    const closing = new RegExp(`^ {0,3}${marks[0]}{${marks.length},}[ \\t]*$`, "m").exec(text.slice(start));
    const end = closing ? start + closing.index : text.length;
    const language = CodeBlock.languageOf((info ?? otherInfo).trim());
    if (this.#openCode?.language !== language) {
      this.#openCode = new CodeBlock(language);
      this.#setTail(this.#openCode.element);
    }
    this.#openCode.show(text.slice(start, end).replace(/\n$/, ""));
    if (!closing && !isWhole) return;
    this.#doneChars = closing ? end + closing[0].length : text.length;
    this.#tail.replaceWith(...this.#tail.childNodes);
    this.#tail = this.#openCode = null;
  }

  #showBlocks(text, isWhole) {
    const rest = text.slice(this.#doneChars, this.#doneChars + LISTED_CHARS);
    NEXT_FENCE.lastIndex = 1;
    const fenceAt = NEXT_FENCE.exec(rest)?.index;
    const known = rest.slice(0, fenceAt);
    let part = known.slice(0, BLOCK_CHARS);
    let blocks = lex(part);
    if (part.length < known.length && lastOf(blocks) === 0 && hasShortLines(blocks[0], known)) {
      part = known;
      blocks = lex(part);
    }
    const isMore = this.#doneChars + part.length < text.length;
    const isAll = isMore ? part.length === fenceAt : isWhole;
    let count = isAll ? blocks.length : lastOf(blocks); // of those that are complete
    if (!isAll && !isMore && !isSettled(blocks[count])) count = 0;
    if (count === 0 && isMore) {
      part = part.slice(0, part.lastIndexOf("\n") + 1 || part.length); // it is too long
      blocks = lex(part);
      count = blocks.length;
    }
    const done = blocks.slice(0, count);
    if (count) {
      this.#setTail(null);
      this.#element.append(this.#render(done, true));
      this.#doneChars += count === blocks.length ? part.length : done.reduce((sum, { raw }) => sum + raw.length, 0);
    } else this.#setTail(this.#render(blocks, false));
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
    const fragment = DOMPurify.sanitize(htmlOf(blocks), ALLOWED);
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

// Blocks of a text, or all of it as one that is only text, where the library gives up on it.
function lex(text) {
  try {
    return markdown.lexer(text);
  } catch {
    return [{ type: "text", raw: text, isPlain: true }];
  }
}

function htmlOf(blocks) {
  try {
    if (!blocks.some(({ isPlain }) => isPlain)) return markdown.parser(blocks);
  } catch {
    // it is shown as text
  }
  return `<p>${escaped(blocks.map(({ raw }) => raw).join(""))}</p>`;
}

// The index of the last block that is more than blank lines; 0 if there is none.
function lastOf(blocks) {
  const last = blocks.findLastIndex(({ type }) => type !== "space");
  return Math.max(last, 0);
}

function hasShortLines({ type }, text) {
  return ["list", "table"].includes(type) && text.split("\n").every(({ length }) => length <= LINE_CHARS);
}

// A block before this one is complete if this one is clearly another: "1" may become "1." and go on with a list.
function isSettled({ raw = "" } = {}) {
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
