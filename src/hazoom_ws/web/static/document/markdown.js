// How Markdown looks while one writes it: headings, emphasis, code, lists, quotes and links are told apart. Nothing is hidden
// and nothing is rendered, so it need not be right about every corner of the language. Each line takes linear time.

import { HighlightStyle, StreamLanguage, syntaxHighlighting, tags } from "../vendor/editor.min.js";

const FENCE = /^\s{0,3}(`{3,}|~{3,})/;
const MARKS = [
  [/^`[^`]+`/, "monospace"],
  [/^\*\*[^*\s][^*]*\*\*/, "strong"],
  [/^__[^_\s][^_]*__/, "strong"],
  [/^\*[^*\s][^*]*\*/, "emphasis"],
  [/^_[^_\s][^_]*_/, "emphasis"],
  [/^\[[^\]]*\]\([^)\s]*\)/, "link"],
  [/^https?:\/\/[^\s<>)]+/, "link"],
];
const MARK_LIMIT_CHARS = 300; // so far the end of a mark is looked for: a line of a million stars takes no longer

function readLine(stream, state) {
  if (stream.sol()) {
    const fence = stream.match(FENCE, false)?.[1];
    if (fence && (!state.fence || fence.startsWith(state.fence))) {
      state.fence = state.fence ? null : fence;
      stream.skipToEnd();
      return "monospace";
    }
    if (state.fence) {
      stream.skipToEnd();
      return "monospace";
    }
    state.isWordBefore = false;
    if (stream.match(/^#{1,6}\s/)) {
      stream.skipToEnd();
      return "heading";
    }
    if (stream.match(/^\s*>/)) return "quote";
    if (stream.match(/^\s*([-*+]|\d{1,9}[.)])\s/)) return "list";
  }
  const ahead = stream.string.slice(stream.pos, stream.pos + MARK_LIMIT_CHARS);
  for (const [pattern, style] of state.isWordBefore ? [] : MARKS) {
    const found = pattern.exec(ahead);
    if (!found) continue;
    stream.pos += found[0].length;
    return style;
  }
  const plain = /^(?:[\p{L}\p{N}]+\s*|\s+)/u.exec(ahead)?.[0] ?? stream.peek();
  stream.pos += plain.length;
  state.isWordBefore = /[\p{L}\p{N}_*`]$/u.test(plain);
  return null;
}

const language = StreamLanguage.define({
  name: "markdown",
  startState: () => ({ fence: null, isWordBefore: false }),
  token: readLine,
});
const looks = HighlightStyle.define([
  { tag: tags.heading, class: "md-heading" },
  { tag: tags.strong, class: "md-strong" },
  { tag: tags.emphasis, class: "md-emphasis" },
  { tag: tags.monospace, class: "md-code" },
  { tag: tags.link, class: "md-link" },
  { tag: [tags.quote, tags.list], class: "md-mark" },
]);

export const markdown = [language, syntaxHighlighting(looks)];
