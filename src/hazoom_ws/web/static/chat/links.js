// What people write is text, and stays text; only addresses in it can be clicked.

const ADDRESS = /(?<![\p{L}\p{N}])(?:https?:\/\/|mailto:)[^\s<>"]+/giu;
const CLOSING = { ")": "(", "]": "[", "}": "{" };

// A fragment of text nodes and links.
export function withLinks(text) {
  const fragment = document.createDocumentFragment();
  let end = 0;
  for (const match of text.matchAll(ADDRESS)) {
    const address = withoutPunctuation(match[0]);
    const link = linkTo(address);
    if (!link) continue;
    link.textContent = address;
    fragment.append(text.slice(end, match.index), link);
    end = match.index + address.length;
  }
  fragment.append(text.slice(end));
  return fragment;
}

// Makes a link one that leads out of the page and tells nothing of it.
export function leadOut(link) {
  link.target = "_blank";
  link.rel = "noopener noreferrer nofollow";
  return link;
}

function linkTo(address) {
  try {
    const { protocol, href } = new URL(address);
    if (!["http:", "https:", "mailto:"].includes(protocol)) return null;
    return leadOut(Object.assign(document.createElement("a"), { href }));
  } catch {
    return null;
  }
}

// What ends a sentence is not part of an address, nor is a bracket that was opened before it.
function withoutPunctuation(address) {
  const counts = {};
  for (const letter of address) counts[letter] = (counts[letter] ?? 0) + 1;
  let end = address.length;
  for (; end > 0; end -= 1) {
    const last = address[end - 1];
    const opening = CLOSING[last];
    if (opening ? counts[last] <= (counts[opening] ?? 0) : !".,;:!?'*_…".includes(last)) break;
    counts[last] -= 1;
  }
  return address.slice(0, end);
}
